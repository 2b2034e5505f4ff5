"""Staff's pages of people: one address each, rights that nobody gives themselves, sessions that really end."""

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission, User
from django.core import mail
from django.test import Client
from django.urls import reverse

from devices.models import Event
from fleetportal.roles import ROLES
from tests.factories import StaffFactory, UserFactory
from tests.fleetportal import world
from tests.fleetportal.accounts.codes import equip

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough password"
SECOND_FACTORS = reverse("admin:mfa_authenticator_changelist")
SESSIONS = reverse("admin:usersessions_usersession_changelist")
USERS = reverse("admin:auth_user_changelist")
TAKEN = ["Somebody who is active has this address. Each person signs in with one of their own."]


@pytest.fixture
def root(client):
    user = StaffFactory(username="ruth", email="ruth@example.com")
    client.force_login(user)
    return user


@pytest.fixture
def olga():
    user = UserFactory(username="olga", email="olga@example.com")
    user.set_password(PASSWORD)
    user.save()
    EmailAddress.objects.create(user=user, email="olga@example.com", primary=True, verified=True)
    return user


def page_of(user):
    return reverse("admin:auth_user_change", args=[user.pk])


def change(client, user, **changes):
    """Save the user's form with these changes; the answer."""
    told = {"username": user.username, "email": user.email, "is_active": "on", "why": "Ticket 4711"}
    told |= {"is_staff": "on"} if user.is_staff else {}
    told |= {"is_superuser": "on"} if user.is_superuser else {}
    return client.post(page_of(user), {name: value for name, value in (told | changes).items() if value is not None})


def errors(answer, field):
    return answer.context["adminform"].form.errors[field]


def gets_in(address, password=PASSWORD):
    return Client().post("/sign-in/", {"username": address, "password": password}).status_code == 302


def signed_in(user):
    """A browser in which somebody is signed in, and the row about it."""
    browser = Client()
    browser.post("/sign-in/", {"username": user.username, "password": PASSWORD})
    return browser, UserSession.objects.get(user=user)


class TestAddress:
    def test_is_kept_in_small_letters_and_lets_its_person_in(self, client, root, olga):
        assert change(client, olga, email=" Olga.New@Example.COM ").status_code == 302
        olga.refresh_from_db()
        assert olga.email == "olga.new@example.com"
        assert gets_in("Olga.New@example.com")
        event = Event.objects.get(kind="user.changed")
        assert event.detail["changes"]["email"] == {"before": "olga@example.com", "after": "olga.new@example.com"}

    def test_that_was_replaced_lets_nobody_in_and_sets_no_password(self, client, root, olga):
        EmailAddress.objects.create(user=olga, email="waits@example.com", verified=False)
        change(client, olga, email="new@example.com")
        assert not gets_in("olga@example.com")
        for address in ("olga@example.com", "waits@example.com"):
            Client().post("/account/password/reset/", {"email": address})
        assert mail.outbox == []
        Client().post("/account/password/reset/", {"email": "new@example.com"})
        assert [each.to for each in mail.outbox] == [["new@example.com"]]
        assert list(olga.emailaddress_set.values_list("email", "verified")) == [("new@example.com", False)]

    def test_that_stays_keeps_being_confirmed(self, client, root, olga):
        assert "Not yet" not in client.get(page_of(olga)).content.decode()
        change(client, olga, first_name="Olga")
        assert olga.emailaddress_set.get().verified
        change(client, olga, email="new@example.com")
        assert "Not yet" in client.get(page_of(olga)).content.decode()

    @pytest.mark.parametrize("address", ["olga@example.com", "OLGA@example.com"])
    def test_of_somebody_active_is_nobody_elses(self, client, root, olga, address):
        other = UserFactory(email="other@example.com")
        assert errors(change(client, other, email=address), "email") == TAKEN
        told = {"username": "new", "email": address, "usable_password": "true", "password1": PASSWORD}
        added = client.post(reverse("admin:auth_user_add"), told | {"password2": PASSWORD})
        assert errors(added, "email") == TAKEN
        assert not User.objects.filter(username="new").exists()

    def test_that_was_confirmed_counts_where_the_account_says_otherwise(self, client, root, olga):
        User.objects.filter(pk=olga.pk).update(email="")
        assert errors(change(client, UserFactory(), email="olga@example.com"), "email") == TAKEN

    def test_that_somebody_only_asked_for_blocks_nobody(self, client, root, olga):
        EmailAddress.objects.create(user=olga, email="boss@example.com", verified=False)
        assert change(client, UserFactory(), email="boss@example.com").status_code == 302

    def test_of_somebody_gone_is_free_until_they_come_back(self, client, root, olga):
        other = UserFactory(username="other", email="olga@example.com", is_active=False)
        assert errors(change(client, other), "email") == TAKEN
        assert change(client, other, is_active=None, first_name="O").status_code == 302
        assert change(client, olga, is_active=None).status_code == 302
        assert change(client, other).status_code == 302

    def test_none_is_nobodys(self, client, root, olga):
        UserFactory(email="")
        assert change(client, olga, email="").status_code == 302
        assert not olga.emailaddress_set.exists()

    def test_comes_with_a_new_person(self, client, root):
        told = {"username": "new", "email": "New@Example.com", "usable_password": "true", "password1": PASSWORD}
        client.post(reverse("admin:auth_user_add"), told | {"password2": PASSWORD})
        assert User.objects.get(username="new").emailaddress_set.get().email == "new@example.com"
        assert gets_in("new@example.com")


class TestRights:
    """Only superusers make, change and empower people: no role may, and no permission that somebody was given."""

    @pytest.fixture(params=[*ROLES, "every permission"])
    def person(self, request, client):
        user = StaffFactory(is_superuser=False, username="sly")
        if request.param == "every permission":
            user.user_permissions.set(Permission.objects.all())
        else:
            user.groups.add(Role.objects.get(name=request.param))
        client.force_login(user)
        return user

    def test_nobody_else_changes_anybody(self, client, person, olga):
        boss = StaffFactory(username="boss", email="boss@example.com")
        everything = list(Permission.objects.values_list("pk", flat=True))
        for user in (boss, olga, person):
            assert change(client, user, email="sly@example.com").status_code == 403
            assert (
                change(client, user, is_superuser="on", is_staff="on", user_permissions=everything).status_code == 403
            )
            told = {"usable_password": "true", "password1": "another long password", "why": "So"}
            answer = client.post(page_of(user).replace("change/", "password/"), told | {"password2": told["password1"]})
            assert answer.status_code in (403, 404)
        told = {"username": "new", "usable_password": "false"}
        assert client.post(reverse("admin:auth_user_add"), told).status_code == 403
        assert not User.objects.filter(username="new").exists()
        for user in (boss, olga, person):
            now = User.objects.get(pk=user.pk)
            assert (now.email, now.password) == (user.email, user.password)
            assert (now.is_superuser, now.is_staff) == (user.is_superuser, user.is_staff)

    def test_nobody_else_changes_what_roles_may(self, client, person):
        role = Role.objects.get(name="Support")
        held = role.permissions.count()
        told = {"name": "Support", "permissions": list(Permission.objects.values_list("pk", flat=True)), "why": "So"}
        assert client.post(reverse("admin:auth_group_change", args=[role.pk]), told).status_code == 403
        assert client.post(reverse("admin:auth_group_add"), told | {"name": "Mine"}).status_code == 403
        assert (Role.objects.get(pk=role.pk).permissions.count(), Role.objects.count()) == (held, len(ROLES))

    def test_nobody_else_removes_second_factors_or_ends_sessions(self, client, person, olga):
        browser, session = signed_in(olga)
        row = equip(olga)
        reason = {"confirmed": "yes", "reason": "So"}
        client.post(SECOND_FACTORS, {"action": "remove", "_selected_action": [row.pk]} | reason)
        client.post(reverse("admin:mfa_authenticator_delete", args=[row.pk]), {"post": "yes", "why": "So"})
        client.post(SESSIONS, {"action": "end", "_selected_action": [session.pk]} | reason)
        assert Authenticator.objects.filter(pk=row.pk).exists()
        assert browser.get("/").status_code == 200

    def test_who_may_look_sees_no_part_of_a_password(self, client, olga):
        looker = StaffFactory(is_superuser=False)
        looker.user_permissions.set(Permission.objects.filter(codename="view_user"))
        for user in (looker, StaffFactory()):
            client.force_login(user)
            page = client.get(page_of(olga)).content.decode()
            assert "olga@example.com" in page
            hidden = olga.password.split("$")
            assert [part for part in hidden[2:] if part[:6] in page] == []

    def test_the_last_who_may_make_people_stays(self, client, root):
        User.objects.filter(is_superuser=True).exclude(pk=root.pk).update(is_superuser=False)
        for told in ({"is_superuser": None}, {"is_active": None}):
            assert "Nobody would be left" in str(change(client, root, **told).context["adminform"].form.errors)
        StaffFactory()
        assert change(client, root, is_superuser=None).status_code == 302

    def test_nobody_is_removed(self, client, root, olga):
        assert client.get(page_of(olga).replace("change/", "delete/")).status_code == 403
        assert "delete_selected" not in client.get(USERS).content.decode()


class TestSignIn:
    def test_a_session_that_staff_end_ends(self, client, root, olga):
        browser, row = signed_in(olga)
        assert browser.get("/").status_code == 200
        told = {"action": "end", "_selected_action": [row.pk], "confirmed": "yes"}
        client.post(SESSIONS, told | {"reason": ""})
        assert browser.get("/").status_code == 200
        client.post(SESSIONS, told | {"reason": "Left the company"})
        assert browser.get("/").status_code == 302
        event = Event.objects.get(kind="session.ended")
        assert (event.user, event.reason, event.detail["person"]) == (root, "Left the company", "olga")

    def test_a_lost_phone_is_removed_with_a_reason(self, client, root, olga):
        row = equip(olga)
        told = {"action": "remove", "_selected_action": [row.pk], "confirmed": "yes", "reason": "Phone lost"}
        client.post(SECOND_FACTORS, told)
        assert not Authenticator.objects.filter(pk=row.pk).exists()
        event = Event.objects.get(kind="authenticator.removed")
        assert (event.user, event.reason, event.detail["person"]) == (root, "Phone lost", "olga")

    def test_rows_are_neither_made_nor_edited_and_their_secrets_not_shown(self, client, root, olga):
        _browser, session = signed_in(olga)
        row = equip(olga)
        page = client.get(reverse("admin:mfa_authenticator_change", args=[row.pk])).content.decode()
        assert "App with codes" in page
        assert row.data["secret"] not in page and "secret" not in page
        assert client.get(reverse("admin:mfa_authenticator_add")).status_code == 403
        assert client.get(reverse("admin:usersessions_usersession_add")).status_code == 403
        address = reverse("admin:usersessions_usersession_change", args=[session.pk])
        assert session.session_key not in client.get(address).content.decode()
        assert client.get(address.replace("change/", "delete/")).status_code == 403
        assert EmailAddress not in admin.site._registry


class TestWords:
    def test_are_those_of_the_portal(self, client, root):
        index = client.get("/admin/").content.decode()
        for word in ("Clients", "Authenticators", "User sessions", "Email addresses", "Api tokens", "OpenID Connect"):
            assert word not in index
        for word in ("Apps", "API tokens", "Second factors", "Sessions", "Roles", "People", "Portal"):
            assert f">{word}</a>" in index
        form = client.get(reverse("admin:allauth_idp_oidc_client_add")).content.decode()
        assert "Redirect URIs" in form
        assert "Add app" in form
        assert "API tokens" in client.get("/admin/devices/apitoken/").context["title"]

    def test_rooms_hold_every_page_once(self, client, root):
        rooms = client.get("/admin/").context["app_list"]
        shown = [page["model"] for room in rooms for page in room["models"]]
        assert len(shown) == len(set(shown))
        assert set(shown) == set(admin.site._registry)

    def test_a_rooms_own_page_has_the_whole_room(self, client, root):
        answer = client.get("/admin/mfa/")
        assert [room["name"] for room in answer.context["app_list"]] == ["People"]
        assert answer.context["title"] == "People"
        assert client.get("/admin/nothing/").status_code == 404

    def test_support_sees_no_people(self, client):
        client.force_login(world.staff("Support"))
        index = client.get("/admin/").content.decode()
        assert "Second factors" not in index
        assert ">Devices</a>" in index

    def test_findings_are_open_or_resolved(self, client, root):
        page = client.get("/admin/devices/finding/?resolved_at__isempty=1")
        titles = {spec.title: [each["display"] for each in spec.choices(page.context["cl"])] for spec in
                  page.context["cl"].filter_specs}  # fmt: skip
        assert titles["state"] == ["All", "Open", "Resolved"]
        assert page.context["cl"].result_count == 0
