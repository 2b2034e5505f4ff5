"""Roles change, people go, and a team keeps an owner."""

import threading
from contextlib import contextmanager

import pytest
from django.db import connection, transaction
from django.utils import timezone

from devices.models import ApiToken, Event, Membership, Tenant
from devices.people import invitations, team
from devices.people.team import TeamError
from tests.devices.people import rows
from tests.devices.people.test_invitations import both_wait
from tests.factories import TenantFactory, UserFactory, member

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@contextmanager
def refused(code):
    with pytest.raises(TeamError) as found:
        yield
    assert found.value.code == code


@pytest.fixture
def tenant():
    return TenantFactory()


@pytest.fixture
def owner(tenant):
    return membership(tenant, "owner")


def membership(tenant, role="viewer"):
    return Membership.objects.get(user=member(tenant, role))


def test_a_role_changes_and_leaves_evidence(tenant, owner):
    row = membership(tenant)
    team.change_role(row, "operator", owner.user, NOW)
    assert Membership.objects.get(pk=row.pk).role == row.role == "operator"
    event = Event.objects.get()
    assert (event.kind, event.user, event.tenant) == ("team.role_changed", owner.user, tenant)
    assert event.detail == {"member": row.user.username, "role": "operator", "before": "viewer"}


def test_the_same_role_is_no_change(owner):
    team.change_role(owner, "owner", owner.user, NOW)
    assert not Event.objects.exists()


def test_a_role_is_one_of_three(owner):
    with refused("role_unknown"):
        team.change_role(owner, "king", owner.user, NOW)


def test_the_last_owner_stays_an_owner(tenant, owner):
    membership(tenant, "operator")
    membership(TenantFactory(), "owner")  # of another team
    with refused("last_owner"):
        team.change_role(owner, "viewer", owner.user, NOW)
    with refused("last_owner"):
        team.remove(owner, owner.user, NOW)
    assert Membership.objects.get(pk=owner.pk).role == "owner"


def test_an_owner_who_cannot_sign_in_is_none(tenant, owner):
    Membership.objects.create(tenant=tenant, role="owner", user=UserFactory(is_active=False))
    with refused("last_owner"):
        team.remove(owner, owner.user, NOW)


def test_an_owner_goes_when_another_is_there(tenant, owner):
    other = membership(tenant, "owner")
    team.remove(owner, owner.user, NOW)
    assert [row.pk for row in Membership.objects.all()] == [other.pk]
    assert Event.objects.get().kind == "team.left"


def test_whoever_goes_loses_the_tokens_of_this_tenant_only(tenant, owner):
    row, elsewhere = membership(tenant), TenantFactory()
    for each in (tenant, elsewhere):
        rows.add_all(each, row.user, NOW, str(each.pk)) if each is tenant else token(each, row.user)
    team.remove(row, owner.user, NOW)
    assert ApiToken.objects.get(tenant=tenant).revoked_at == NOW
    assert ApiToken.objects.get(tenant=elsewhere).revoked_at is None
    event = Event.objects.get(kind="team.removed")
    assert event.detail["tokens"] == [ApiToken.objects.get(tenant=tenant).prefix]


def token(tenant, user):
    return ApiToken.objects.create(
        tenant=tenant, user=user, name="x", prefix="fpa_elsewhere"[:12], token_hash="x", scopes=["devices:read"],
        expires_at=NOW,
    )  # fmt: skip


def test_whoever_is_gone_is_neither_changed_nor_removed(tenant, owner):
    row = membership(tenant)
    team.remove(row, owner.user, NOW)
    with refused("not_a_member"):
        team.remove(row, owner.user, NOW)
    with refused("not_a_member"):
        team.change_role(row, "owner", owner.user, NOW)


def test_a_second_factor_is_asked_of_all_and_that_is_written_down(tenant, owner):
    assert team.require_mfa(tenant, True, owner.user, NOW) is True
    assert team.require_mfa(tenant, True, owner.user, NOW) is False
    assert Tenant.objects.get(pk=tenant.pk).mfa_required is True
    assert Event.objects.get().detail == {"required": True}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["remove", "change_role"])
def test_of_two_last_owners_that_go_at_once_one_stays(act):
    tenant = TenantFactory()
    owners, ends = [membership(tenant, "owner"), membership(tenant, "owner")], []

    def go(row):
        try:
            if act == "remove":
                team.remove(row, row.user, NOW)
            else:
                team.change_role(row, "viewer", row.user, NOW)
            ends.append("gone")
        except TeamError as error:
            ends.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=(row,)) for row in owners]
    with transaction.atomic():
        Tenant.objects.select_for_update().get(pk=tenant.pk)
        for thread in threads:
            thread.start()
        both_wait()
    for thread in threads:
        thread.join(10)
    assert sorted(ends) == ["gone", "last_owner"]
    assert Membership.objects.filter(tenant=tenant, role="owner").count() == 1


@pytest.mark.parametrize("how", ["removed", "no owner any more"])
def test_who_may_not_invite_any_more_does_not_come_back_by_a_link_of_their_own(tenant, owner, how):
    other = membership(tenant, "owner")
    theirs, token = invitations.invite(tenant, "again@example.com", "owner", other.user, NOW)
    kept, _ = invitations.invite(tenant, "new@example.com", "viewer", owner.user, NOW)
    if how == "removed":
        team.remove(other, owner.user, NOW)
    else:
        team.change_role(other, "viewer", owner.user, NOW)
    with pytest.raises(invitations.InvitationError, match="not good"):
        invitations.accept(token, UserFactory(), NOW)
    event = Event.objects.get(kind="team.invitation_revoked")
    assert (event.user, event.detail["invitation"]) == (owner.user, theirs.pk)
    kept.refresh_from_db()
    assert kept.is_open(NOW)
