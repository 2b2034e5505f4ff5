"""Teams over the API: members, roles, invitations."""

import pytest
from django.core import mail

from devices.models import Event, Invitation, Membership
from tests.devices.api.programs import caller
from tests.factories import StaffFactory, TenantFactory, UserFactory, member

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant(db):
    return TenantFactory(slug="acme")


@pytest.fixture
def owner(tenant, client):
    user = member(tenant, "owner")
    client.force_login(user)
    return user


BASE = "/api/v1/tenants/acme"


def address(user):
    return f"{BASE}/members/{user.memberships.get().pk}"


def patch(client, user, role):
    seen = client.get(address(user)).headers.get("ETag", "")
    return client.patch(address(user), {"role": role}, content_type="application/json", headers={"If-Match": seen})


def invite(client, email="sam@example.com", role="viewer", **headers):
    told = {"email": email, "role": role}
    return client.post(f"{BASE}/invitations", told, content_type="application/json", headers=headers)


class TestMembers:
    def test_are_told_to_each_of_them(self, client, tenant, owner):
        viewer = member(tenant, "viewer", email="v@example.com")
        for user in (owner, viewer):
            client.force_login(user)
            told = client.get(f"{BASE}/members").json()["results"]
            assert [(each["username"], each["role"]) for each in told] == [
                (owner.username, "owner"), (viewer.username, "viewer")
            ]  # fmt: skip
            assert client.get(told[1]["url"]).json() == told[1]

    def test_are_not_told_to_others(self, client, tenant, owner):
        client.force_login(member(TenantFactory()))
        for path in (f"{BASE}/members", address(owner), f"{BASE}/invitations", BASE):
            assert client.get(path).status_code == 404

    def test_of_another_tenant_are_not_reached_by_mine(self, client, tenant, owner):
        foreign = member(TenantFactory())
        assert client.get(address(foreign)).status_code == 404
        assert patch(client, foreign, "viewer").status_code == 404
        assert client.delete(address(foreign)).status_code == 404

    def test_get_another_role_by_an_owner(self, client, tenant, owner):
        other = member(tenant, "viewer")
        assert patch(client, other, "operator").json()["role"] == "operator"
        assert Event.objects.get(kind="team.role_changed").user == owner
        assert patch(client, other, "king").json()["path"] == "$.role"

    def test_the_last_owner_stays(self, client, tenant, owner):
        assert patch(client, owner, "viewer").json()["error_code"] == "last_owner"
        assert client.delete(address(owner)).json()["error_code"] == "last_owner"

    def test_are_removed_by_an_owner_and_leave_by_themselves(self, client, tenant, owner):
        first, second = member(tenant, "operator"), member(tenant, "viewer")
        assert client.delete(address(first)).status_code == 204
        client.force_login(second)
        assert client.delete(address(owner)).status_code == 403
        assert client.delete(address(second)).status_code == 204
        assert list(Membership.objects.values_list("user", flat=True)) == [owner.pk]

    @pytest.mark.parametrize("role", ["operator", "viewer"])
    def test_others_change_nothing(self, client, tenant, owner, role):
        client.force_login(member(tenant, role))
        assert patch(client, owner, "viewer").status_code == 403
        assert client.get(f"{BASE}/invitations").status_code == 403
        assert invite(client).status_code == 403

    def test_staff_need_the_permission(self, client, tenant, owner):
        member(tenant, "owner")
        client.force_login(StaffFactory(is_superuser=False))
        assert patch(client, owner, "viewer").status_code == 403
        assert invite(client).status_code == 403
        client.force_login(StaffFactory())
        assert patch(client, owner, "viewer").status_code == 200

    def test_programs_need_the_scope(self, tenant, owner):
        reads = caller(owner, tenant, "devices:read")
        assert reads.get(f"{BASE}/members").status_code == 403
        assert caller(owner, tenant, "team:manage").get(f"{BASE}/members").status_code == 200


class TestInvitations:
    def test_one_is_made_mailed_listed_and_revoked(self, client, tenant, owner, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            made = invite(client)
        told = made.json()
        assert (made.status_code, made["Location"]) == (201, told["url"])
        assert [each.to for each in mail.outbox] == [["sam@example.com"]]
        assert told["link"] in mail.outbox[0].body
        link = told.pop("link")
        assert client.get(f"{BASE}/invitations").json()["results"] == [told]
        assert client.get(link).status_code == 302
        assert client.delete(told["url"]).status_code == 204
        assert client.delete(told["url"]).status_code == 204
        assert client.get(told["url"]).status_code == 404
        assert client.get(f"{BASE}/invitations").json()["results"] == []

    def test_asked_twice_with_one_key_there_is_one_link(self, client, tenant, owner):
        first, again = (invite(client, **{"Idempotency-Key": "k"}) for _ in range(2))
        assert first.json() == again.json()
        assert Invitation.objects.count() == 1

    def test_of_other_tenants_are_not_reached(self, client, tenant, owner):
        other = member(TenantFactory(slug="other"))
        client.force_login(other)
        assert invite(client).status_code == 404
        client.force_login(owner)
        told = invite(client).json()
        client.force_login(other)
        foreign = told["url"].replace("/acme/", "/other/")
        assert client.delete(foreign).status_code == 404
        assert Invitation.objects.get().revoked_at is None

    @pytest.mark.parametrize(
        ("email", "role", "path"),
        [("nobody", "viewer", "$.email"), ("a\n@b.c", "viewer", "$.email"), ("a@example.com", "king", "$.role")],
    )
    def test_says_where_the_mistake_is(self, client, tenant, owner, email, role, path):
        assert invite(client, email, role).json()["path"] == path

    def test_a_member_is_not_invited(self, client, tenant, owner):
        user = UserFactory(email="in@example.com")
        Membership.objects.create(tenant=tenant, user=user, role="viewer")
        assert invite(client, "in@example.com").json()["error_code"] == "already_member"
