"""An API token's life: made, shown once, checked, noted in use, revoked; and never more than its person may."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from devices.errors import DomainError
from devices.models import ApiToken, Event, Membership
from devices.people import api_tokens
from devices.people.scopes import DEVICES_READ, DEVICES_WRITE, FIRMWARE_WRITE, READINGS_READ, TEAM_MANAGE
from tests.factories import StaffFactory, TenantFactory, member

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def tenant():
    return TenantFactory()


@pytest.fixture
def owner(tenant):
    return member(tenant)


def make(user, tenant, scopes=(DEVICES_READ,), name="a script", days=90, now=NOW):
    return api_tokens.make(user, tenant, name, scopes, timedelta(days=days), now)


def refusal(call, *args, **kwargs):
    with pytest.raises(DomainError) as caught:
        call(*args, **kwargs)
    return caught.value.status, caught.value.code


def test_a_token_is_random_kept_as_a_hash_and_found_again(owner, tenant):
    row, token = make(owner, tenant, [READINGS_READ, DEVICES_READ])
    assert token.startswith("fpa_") and len(token) == 4 + 43
    assert (row.prefix, row.token_hash) == (token[:12], hashlib.sha256(token.encode()).hexdigest())
    assert row.scopes == [DEVICES_READ, READINGS_READ]
    assert row.expires_at == NOW + 90 * DAY
    found = api_tokens.check(token, NOW)
    assert (found.row, found.scopes) == (row, {DEVICES_READ, READINGS_READ})
    event = Event.objects.get(kind="apitoken.made")
    assert (event.tenant, event.user, event.detail["token"]) == (tenant, owner, row.prefix)
    assert token not in str(event.detail)


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("viewer", {DEVICES_READ}),
        ("operator", {DEVICES_READ, DEVICES_WRITE}),
        ("owner", {DEVICES_READ, DEVICES_WRITE, TEAM_MANAGE}),
    ],
)
def test_nobody_hands_on_more_than_their_role(tenant, role, may):
    user = member(tenant, role)
    for scope in (DEVICES_READ, DEVICES_WRITE, TEAM_MANAGE, FIRMWARE_WRITE, "nonsense", ""):
        if scope in may:
            assert make(user, tenant, [scope])
        else:
            assert refusal(make, user, tenant, [DEVICES_READ, scope]) == (400, "token_scopes")


def test_what_no_token_can_be_made_of(owner, tenant):
    assert refusal(make, owner, tenant, []) == (400, "token_scopes")
    for name in ("", "  ", "x" * 101, "a\0b"):
        assert refusal(make, owner, tenant, name=name) == (400, "token_name")
    for days in (0, -1, 731):
        assert refusal(make, owner, tenant, days=days) == (400, "token_lifetime")
    assert make(owner, tenant, days=730)
    for stranger in (member(TenantFactory()), StaffFactory()):
        assert refusal(make, stranger, tenant) == (403, "not_a_member")


def test_twenty_good_ones_are_enough(owner, tenant):
    rows = [make(owner, tenant)[0] for _ in range(20)]
    assert refusal(make, owner, tenant) == (409, "token_limit")
    assert api_tokens.revoke(rows[0], owner, NOW)
    assert make(owner, tenant)
    assert make(owner, tenant, now=NOW + 91 * DAY)  # those are over
    assert make(member(tenant), tenant)


@pytest.mark.parametrize(
    "token",
    ["", "fpa_", "fpa_" + "a" * 43, "fpa_" + "a" * 42 + "\0", "fpd_" + "a" * 43, "ÿ" * 47, "a" * 60_000, "\ud800"],
)
def test_what_is_no_token(owner, tenant, token):
    make(owner, tenant)
    assert refusal(api_tokens.check, token, NOW) == (401, "token_unknown")


def test_a_token_whose_first_characters_are_right_is_not_known(owner, tenant):
    token = make(owner, tenant)[1]
    wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
    assert refusal(api_tokens.check, wrong, NOW) == (401, "token_unknown")


def test_a_token_ends(owner, tenant):
    row, token = make(owner, tenant)
    assert refusal(api_tokens.check, token, NOW + 90 * DAY) == (401, "token_expired")
    assert api_tokens.revoke(row, owner, NOW)
    assert not api_tokens.revoke(row, owner, NOW)
    assert refusal(api_tokens.check, token, NOW) == (401, "token_revoked")
    assert Event.objects.filter(kind="apitoken.revoked").count() == 1


def test_a_token_ends_with_its_person_and_their_membership(owner, tenant):
    token = make(owner, tenant)[1]
    owner.is_active = False
    owner.save()
    assert refusal(api_tokens.check, token, NOW) == (401, "token_revoked")
    owner.is_active = True
    owner.save()
    assert api_tokens.check(token, NOW)
    Membership.objects.filter(user=owner).delete()
    assert refusal(api_tokens.check, token, NOW) == (401, "token_revoked")


def test_a_token_shrinks_with_the_role_of_its_person(owner, tenant):
    token = make(owner, tenant, [DEVICES_READ, DEVICES_WRITE, TEAM_MANAGE])[1]
    Membership.objects.update(role="operator")
    assert api_tokens.check(token, NOW).scopes == {DEVICES_READ, DEVICES_WRITE}
    Membership.objects.update(role="viewer")
    assert api_tokens.check(token, NOW).scopes == {DEVICES_READ}


def test_use_is_noted_once_a_minute(owner, tenant):
    row = make(owner, tenant)[0]
    for seconds, noted in ((0, 0), (59, 0), (60, 60), (119, 60)):
        api_tokens.used(ApiToken.objects.get(), NOW + timedelta(seconds=seconds))
        assert ApiToken.objects.get(pk=row.pk).last_used_at == NOW + timedelta(seconds=noted)


def test_people_see_their_own_and_not_of_a_tenant_they_left(owner, tenant):
    row = make(owner, tenant)[0]
    other = member(tenant)
    make(other, tenant)
    assert list(api_tokens.mine(owner)) == [row]
    Membership.objects.filter(user=owner).delete()
    assert list(api_tokens.mine(owner)) == []
