"""Who is invited joins once, in the role that was meant, and only while the link is good."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection, transaction
from django.utils import timezone

from devices.models import Event, Invitation, Membership
from devices.people import invitations
from devices.people.invitations import InvitationError
from tests.factories import TenantFactory, UserFactory, member

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@pytest.fixture
def tenant():
    return TenantFactory(name="Acme Foods")


@pytest.fixture
def owner(tenant):
    return member(tenant, "owner", username="olga")


@contextmanager
def refused(code):
    with pytest.raises(InvitationError) as found:
        yield
    assert found.value.code == code


def test_somebody_joins_in_the_role_that_was_meant(tenant, owner):
    row, token = invitations.invite(tenant, " New@Example.com", "operator", owner, NOW)
    assert (row.email, row.expires_at) == ("new@example.com", NOW + timedelta(days=7))
    assert token not in repr(list(Invitation.objects.values()))
    user = UserFactory()
    membership = invitations.accept(token, user, NOW)
    assert (membership.tenant, membership.user, membership.role) == (tenant, user, "operator")
    assert list(Event.objects.order_by("id").values_list("kind", "user", "tenant")) == [
        ("team.invited", owner.pk, tenant.pk),
        ("team.joined", user.pk, tenant.pk),
    ]


def test_a_link_is_good_once(tenant, owner):
    _, token = invitations.invite(tenant, "a@example.com", "viewer", owner, NOW)
    invitations.accept(token, UserFactory(), NOW)
    with refused("invitation_unknown"):
        invitations.accept(token, UserFactory(), NOW)
    assert Membership.objects.count() == 2


def test_a_link_is_good_for_seven_days(tenant, owner):
    _, token = invitations.invite(tenant, "a@example.com", "viewer", owner, NOW)
    with refused("invitation_unknown"):
        invitations.accept(token, UserFactory(), NOW + timedelta(days=7))
    assert invitations.accept(token, UserFactory(), NOW + timedelta(days=7, seconds=-1))


def test_a_revoked_link_is_not_good(tenant, owner):
    row, token = invitations.invite(tenant, "a@example.com", "viewer", owner, NOW)
    assert invitations.revoke(row, owner, NOW) is True
    assert invitations.revoke(row, owner, NOW) is False
    with refused("invitation_unknown"):
        invitations.accept(token, UserFactory(), NOW)
    assert Event.objects.filter(kind="team.invitation_revoked").count() == 1


def test_one_that_was_accepted_is_not_revoked(tenant, owner):
    row, token = invitations.invite(tenant, "a@example.com", "viewer", owner, NOW)
    invitations.accept(token, UserFactory(), NOW)
    assert invitations.revoke(row, owner, NOW) is False


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "\0" * 43, "ä" * 43])
def test_what_nobody_made_is_not_known(token):
    with refused("invitation_unknown"):
        invitations.accept(token, UserFactory(), NOW)


def test_inviting_again_ends_the_earlier_link(tenant, owner):
    _, first = invitations.invite(tenant, "a@example.com", "owner", owner, NOW)
    _, second = invitations.invite(tenant, "A@example.com", "viewer", owner, NOW)
    with refused("invitation_unknown"):
        invitations.find(first, NOW)
    assert invitations.find(second, NOW).role == "viewer"


@pytest.mark.parametrize("email", ["", "no address", "a@b\nBcc: c@example.com", f"{'a' * 250}@example.com"])
def test_only_addresses_are_invited(tenant, owner, email):
    with refused("email_invalid"):
        invitations.invite(tenant, email, "viewer", owner, NOW)


@pytest.mark.parametrize("role", ["", "staff", "Owner"])
def test_only_roles_are_given(tenant, owner, role):
    with refused("role_unknown"):
        invitations.invite(tenant, "a@example.com", role, owner, NOW)


def test_a_member_is_not_invited_again(tenant, owner):
    member(tenant, email="a@example.com")
    with refused("already_member"):
        invitations.invite(tenant, "A@example.com", "viewer", owner, NOW)


def test_a_member_does_not_join_again_and_the_link_stays_good(tenant, owner):
    _, token = invitations.invite(tenant, "a@example.com", "viewer", owner, NOW)
    with refused("already_member"):
        invitations.accept(token, owner, NOW)
    assert Membership.objects.get(user=owner).role == "owner"
    assert invitations.accept(token, UserFactory(), NOW)


def test_a_tenant_does_not_mail_the_whole_world(tenant, owner, monkeypatch):
    monkeypatch.setattr(invitations, "MAX_A_DAY", 2)
    for number in range(2):
        invitations.invite(tenant, f"{number}@example.com", "viewer", owner, NOW)
    with refused("invitation_limit"):
        invitations.invite(tenant, "2@example.com", "viewer", owner, NOW)
    assert invitations.invite(tenant, "2@example.com", "viewer", owner, NOW + timedelta(days=1, seconds=1))


def test_the_mail_holds_the_link_and_a_name_adds_no_lines_to_its_head():
    tenant = TenantFactory(name="Acme\nBcc: everybody@example.com <b>&")
    row, token = invitations.invite(tenant, "a@example.com", "viewer", member(tenant), NOW)
    assert invitations.mail(row, f"https://portal.example/invitation/{token}/")
    (sent,) = mail.outbox
    assert sent.to == ["a@example.com"]
    assert f"https://portal.example/invitation/{token}/\n" in sent.body
    assert "<b>&" in sent.body
    assert sent.subject == "You are invited to Acme Bcc: everybody@example.com <b>& on Fleetportal"


def test_a_mail_server_that_is_away_costs_no_invitation(tenant, owner, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    row, _ = invitations.invite(tenant, "a@example.com", "viewer", owner, NOW)
    assert invitations.mail(row, "https://portal.example/") is False
    assert row.is_open(NOW)


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_joins():
    tenant = TenantFactory()
    _, token = invitations.invite(tenant, "a@example.com", "viewer", None, NOW)
    people, ends = [UserFactory(), UserFactory()], []

    def join(user):
        try:
            ends.append(invitations.accept(token, user, timezone.now()).role)
        except InvitationError as error:
            ends.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=join, args=(user,)) for user in people]
    with transaction.atomic():
        type(tenant).objects.select_for_update().get(pk=tenant.pk)  # both have looked before either may go on
        for thread in threads:
            thread.start()
        both_wait()
    for thread in threads:
        thread.join(10)
    assert sorted(ends) == ["invitation_unknown", "viewer"]
    assert Membership.objects.count() == 1


def both_wait():
    """Until two wait for a lock."""
    end = time.monotonic() + 10
    with connection.cursor() as cursor:
        while time.monotonic() < end:
            cursor.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0] >= 2:
                return
    raise AssertionError("nobody waits")
