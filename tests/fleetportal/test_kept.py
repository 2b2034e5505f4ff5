"""What is kept for a moment is for those who see the same tenants, and for nobody else."""

import pytest

from devices.models import Membership
from fleetportal import kept
from fleetportal.kept import for_a_moment
from tests.factories import TenantFactory, member

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _many(monkeypatch):
    monkeypatch.setattr(kept, "MANY", 1)


def ask(user, told="", devices=1):
    return for_a_moment("test", user, 60, lambda: ({"told": told}, devices))["told"]


def test_for_those_who_see_the_same():
    tenant = TenantFactory()
    first, second, other = member(tenant), member(tenant, "viewer"), member(TenantFactory())
    assert ask(first, "mine") == "mine"
    assert ask(second, "again") == "mine"
    assert ask(other, "theirs") == "theirs"


def test_few_are_counted_each_time():
    user = member(TenantFactory())
    assert [ask(user, "one", 0), ask(user, "two", 0)] == ["one", "two"]


def test_who_joins_another_tenant_meanwhile_tells_its_colleagues_nothing():
    mine, theirs = TenantFactory(), TenantFactory()
    user, colleague = member(mine), member(mine)

    def join():
        Membership.objects.create(user=user, tenant=theirs, role="viewer")
        return {"told": "a secret of theirs"}, 1

    assert for_a_moment("test", user, 60, join)["told"] == "a secret of theirs"
    assert ask(colleague, "nothing") == "nothing"


def test_another_version_keeps_its_own(monkeypatch):
    user = member(TenantFactory())
    ask(user, "old")
    monkeypatch.setattr(kept, "SHAPE", kept.SHAPE + 1)
    assert ask(user, "new") == "new"


def test_without_the_cache_it_is_made_each_time(settings):
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    user = member(TenantFactory())
    assert [ask(user, "one"), ask(user, "two")] == ["one", "two"]
