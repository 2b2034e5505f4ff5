"""Addresses change hands: who left keeps none, who confirms late takes none; small letters are what is looked for."""

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.test import Client

from devices.people import addresses
from tests.factories import StaffFactory, TenantFactory, UserFactory, member

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough password"
ADDRESS = "olga@example.com"


def confirm(user, row):
    browser = Client()
    browser.force_login(user)
    answer = browser.post(f"/account/confirm-email/{EmailConfirmationHMAC.create(row).key}/")
    assert answer.status_code == 302
    return browser


def mails_of_a_reset(address=ADDRESS):
    mail.outbox.clear()
    Client().post("/account/password/reset/", {"email": address})
    return [each.to for each in mail.outbox]


@pytest.fixture
def successor():
    """Somebody whose address was confirmed by a person who has left."""
    gone = UserFactory(email=ADDRESS, is_active=False)
    EmailAddress.objects.create(user=gone, email=ADDRESS, primary=True, verified=True)
    user = member(TenantFactory(), email=ADDRESS)
    addresses.put(user)
    return user


def test_who_has_it_after_somebody_who_left_gets_its_mails(successor):
    assert mails_of_a_reset() == [[ADDRESS]]


def test_and_can_confirm_it(successor):
    confirm(successor, successor.emailaddress_set.get())
    assert successor.emailaddress_set.get().verified


def test_one_that_became_somebody_elses_is_not_taken_from_them():
    ann = member(TenantFactory(), email="ann@example.com")
    EmailAddress.objects.create(user=ann, email="ann@example.com", primary=True, verified=True)
    asked = EmailAddress.objects.create(user=ann, email=ADDRESS, primary=False, verified=False)
    addresses.put(member(TenantFactory(), email=ADDRESS))
    browser = confirm(ann, asked)
    assert "ann@example.com" in browser.get("/account/email/").content.decode()
    ann.refresh_from_db()
    rows = ann.emailaddress_set.order_by("email").values_list("email", "primary", "verified")
    assert (ann.email, list(rows)) == ("ann@example.com", [("ann@example.com", True, True), (ADDRESS, False, False)])


def test_nor_where_only_the_database_knows(monkeypatch):
    ann = member(TenantFactory(), email="ann@example.com")
    asked = EmailAddress.objects.create(user=ann, email=ADDRESS, primary=False, verified=False)
    UserFactory(email=ADDRESS)
    monkeypatch.setattr(addresses, "is_taken", lambda *_: False)  # it was theirs a moment after the look
    confirm(ann, asked)
    ann.refresh_from_db()
    asked.refresh_from_db()
    assert (ann.email, asked.verified) == ("ann@example.com", False)


def test_staff_who_give_it_away_in_the_same_moment_are_told(client, monkeypatch):
    UserFactory(email=ADDRESS)
    other = UserFactory()
    client.force_login(StaffFactory())
    monkeypatch.setattr(addresses, "is_taken", lambda *_: False)
    told = {"username": other.username, "email": ADDRESS, "is_active": "on", "why": "Asked for it"}
    page = client.post(f"/admin/auth/user/{other.pk}/change/", told, follow=True)
    assert "Somebody who is active has this address." in page.content.decode()
    other.refresh_from_db()
    assert other.email == ""


def test_capitals_are_forgiven_whoever_typed_them():
    call_command("createsuperuser", "--no-input", username="root", email="Olga@Example.com")
    assert User.objects.get().email == ADDRESS
    assert mails_of_a_reset("OLGA@example.com") == [[ADDRESS]]
    user = User.objects.get()
    user.set_password(PASSWORD)
    user.save()
    assert Client().post("/sign-in/", {"username": "oLga@example.com", "password": PASSWORD}).status_code == 302
