"""Every page about accounts is ours: one look, no inline script, and none of them lets anybody in who should not be."""

import re
from datetime import UTC, datetime

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core import mail
from django.urls import get_resolver, reverse
from django.utils import timezone

from devices.models import ApiToken, Event, Invitation, Membership, Preference
from devices.people import invitations
from fleetportal.accounts.middleware import PREFERENCES
from tests.devices.people import rows
from tests.factories import StaffFactory, TenantFactory, UserFactory, member
from tests.fleetportal.accounts.codes import code, equip
from tests.fleetportal.accounts.passkeys import give_passkey

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough password"
MINE = [
    "/account/2fa/",
    "/account/2fa/totp/activate/",
    "/account/2fa/webauthn/",
    "/account/2fa/webauthn/add/",
    "/account/password/change/",
    "/account/email/",
    "/account/sessions/",
    "/account/logout/",
    "/preferences/",
]
OPEN = ["/sign-in/", "/account/password/reset/", "/account/password/reset/done/", "/account/inactive/",
        "/account/signup/", "/account/confirm-email/", "/account/password/reset/key/done/",
        "/account/password/reset/key/1-x/", "/account/confirm-email/x/"]  # fmt: skip
HANDLER = re.compile(r"<[^>]+\son[a-z]+=|<[^>]+\sstyle=|<style", re.IGNORECASE)
SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")", re.IGNORECASE)


@pytest.fixture
def tenant():
    return TenantFactory(name="Acme Foods", slug="acme")


@pytest.fixture
def owner(client, tenant):
    user = member(tenant, "owner", username="olga", email="olga@example.com", password=PASSWORD)
    client.post("/sign-in/", {"username": "olga", "password": PASSWORD})
    is_ours(client.get("/account/reauthenticate/"))
    client.post("/account/reauthenticate/", {"password": PASSWORD})
    return user


def is_ours(page):
    text = page.content.decode()
    assert page.status_code == 200
    assert "fleetportal.css" in text and "account.css" in text
    assert not HANDLER.search(text) and not SCRIPT.search(text)
    return text


@pytest.mark.parametrize("path", MINE)
def test_pages_of_somebody_signed_in_have_our_look_and_are_closed_to_others(client, owner, path):
    assert ('class="account-menu"' in is_ours(client.get(path))) is (path != "/account/logout/")
    client.logout()
    assert client.get(path).headers["Location"].startswith(("/sign-in/", "/account/login/"))


@pytest.mark.parametrize("path", OPEN)
def test_pages_before_signing_in_have_our_look(client, path):
    assert 'class="sign-in card account"' in is_ours(client.get(path))


def test_pages_of_the_second_step_have_our_look(client, tenant):
    user = member(tenant, username="olga", password=PASSWORD)
    equip(user)
    client.post("/sign-in/", {"username": "olga", "password": PASSWORD})
    is_ours(client.get("/account/2fa/authenticate/"))
    client.post("/account/2fa/authenticate/", {"code": code()})
    is_ours(client.get("/account/2fa/reauthenticate/"))
    client.post("/account/reauthenticate/", {"password": PASSWORD})
    for path in ("/account/2fa/recovery-codes/", "/account/2fa/totp/deactivate/"):
        is_ours(client.get(path))


class TestTheSecondStep:
    """What people have at hand is asked for first, and nothing that they do not have."""

    def page(self, client, tenant, *gives):
        user = member(tenant, username="olga", password=PASSWORD)
        for give in gives:
            give(user)
        client.post("/sign-in/", {"username": "olga", "password": PASSWORD})
        return is_ours(client.get("/account/2fa/authenticate/"))

    def test_with_both_the_passkey_comes_first(self, client, tenant):
        page = self.page(client, tenant, equip, give_passkey)
        assert page.index("Use a passkey or security key") < page.index('name="code"')
        assert page.count("autofocus") == 1

    def test_with_an_app_there_is_no_passkey(self, client, tenant):
        page = self.page(client, tenant, equip)
        assert "passkey" not in page.lower()
        assert re.search(r'<input[^>]*name="code"[^>]*autofocus', page)

    def test_with_a_passkey_the_code_is_a_recovery_code(self, client, tenant):
        page = self.page(client, tenant, give_passkey, RecoveryCodes.activate)
        assert "Recovery code" in page and "Six digits" not in page

    def test_is_offered_in_this_order_once_more(self, client, tenant):
        user = member(tenant, username="olga", password=PASSWORD)
        equip(user)
        give_passkey(user)
        client.force_login(user)
        page = is_ours(client.get("/account/reauthenticate/"))
        assert page.index("Use a passkey") < page.index("Use an app or recovery code")
        tenant.mfa_required = True
        tenant.save()
        assert client.get("/").headers["Location"] == "/account/2fa/webauthn/reauthenticate/?next=%2F"


@pytest.mark.parametrize("path", [*MINE, *OPEN, "/team/acme/", "/tokens/", "/invitation/x/"])
def test_an_address_is_called_the_same_everywhere(client, owner, path):
    if path in OPEN:
        client.logout()
    text = re.sub(r"<[^>]+>", " ", client.get(path).content.decode())
    assert not re.search(r"(?<!-)\bemail", text, re.IGNORECASE)


def test_no_page_of_the_library_was_forgotten():
    """A new one comes with a new version: it is looked at before it is served."""
    routes = {key for key in get_resolver().reverse_dict if isinstance(key, str)}
    library = {key for key in routes if key.startswith(("account_", "mfa_", "usersessions_"))}
    assert library == {
        "account_login", "account_logout", "account_inactive", "account_signup", "account_reauthenticate",
        "account_email", "account_email_verification_sent", "account_confirm_email", "account_change_password",
        "account_set_password", "account_reset_password", "account_reset_password_done",
        "account_reset_password_from_key", "account_reset_password_from_key_done", "account_confirm_login_code",
        "mfa_index", "mfa_authenticate", "mfa_reauthenticate", "mfa_activate_totp", "mfa_deactivate_totp",
        "mfa_view_recovery_codes", "mfa_generate_recovery_codes", "mfa_download_recovery_codes", "mfa_list_webauthn",
        "mfa_add_webauthn", "mfa_reauthenticate_webauthn", "mfa_remove_webauthn", "mfa_edit_webauthn",
        "mfa_login_webauthn", "usersessions_list",
    }  # fmt: skip


class TestPasswords:
    def test_a_forgotten_one_is_set_anew_by_mail(self, client, owner):
        client.logout()
        client.post("/account/password/reset/", {"email": "olga@example.com"})
        (sent,) = mail.outbox
        assert sent.to == ["olga@example.com"]
        link = re.search(r"http://testserver(/\S+)", sent.body)[1]
        form = client.get(link).headers["Location"]
        client.post(form, {"password1": "quite another one 7", "password2": "quite another one 7"})
        assert client.post("/sign-in/", {"username": "olga", "password": PASSWORD}).status_code == 200
        answer = client.post("/sign-in/", {"username": "olga", "password": "quite another one 7"})
        assert answer.headers["Location"] == "/"

    def test_nobody_learns_whether_an_address_is_known(self, client, owner):
        client.logout()
        answers = [client.post("/account/password/reset/", {"email": f"{name}@example.com"}) for name in ("olga", "no")]
        assert len({(each.status_code, each.headers["Location"]) for each in answers}) == 1

    @pytest.mark.parametrize("password", ["eleven char", "password1234", "olga@example.com"])
    def test_weak_ones_are_refused(self, client, owner, password):
        answer = client.post(
            "/account/password/change/", {"oldpassword": PASSWORD, "password1": password, "password2": password}
        )
        assert answer.status_code == 200
        owner.refresh_from_db()
        assert owner.check_password(PASSWORD)


def test_other_sessions_are_listed_and_ended(client, owner):
    other = type(client)(headers={"user-agent": "Other <b>browser</b>"})
    other.post("/sign-in/", {"username": "olga", "password": PASSWORD})
    page = client.get("/account/sessions/").content.decode()
    assert "Other &lt;b&gt;browser&lt;/b&gt;" in page
    client.post("/account/sessions/")
    assert other.get("/").status_code == 302
    assert client.get("/").status_code == 200


class TestPreferences:
    def test_are_kept_and_seen_on_the_next_page(self, client, owner):
        assert client.post("/preferences/", {"timezone": "Asia/Tokyo", "theme": "dark"}).status_code == 302
        page = client.get("/").content.decode()
        assert 'data-theme="dark" data-timezone="Asia/Tokyo"' in page
        assert Preference.objects.get().timezone == "Asia/Tokyo"

    def test_are_there_after_signing_in_anew(self, client, owner):
        Preference.objects.create(user=owner, timezone="Asia/Tokyo", theme="light")
        client.logout()
        client.force_login(owner)
        assert client.session[PREFERENCES] == {"timezone": "Asia/Tokyo", "theme": "light"}
        assert 'data-theme="light"' in client.get("/").content.decode()

    def test_times_are_written_in_the_zone(self, client, owner):
        Preference.objects.create(user=owner, timezone="Asia/Tokyo")
        client.force_login(owner)
        invitations.invite(owner.memberships.get().tenant, "a@example.com", "viewer", owner, timezone.now())
        Invitation.objects.update(expires_at=datetime(2199, 1, 1, 20, tzinfo=UTC))
        assert ">2199-01-02 05:00 JST</time>" in client.get("/team/acme/").content.decode()

    @pytest.mark.parametrize(
        "sent", [{"timezone": "Mars/Base", "theme": "dark"}, {"timezone": "", "theme": "pink"}, {}]
    )
    def test_nonsense_is_refused(self, client, owner, sent):
        assert client.post("/preferences/", sent).status_code == 400
        assert not Preference.objects.exists()


class TestTeam:
    def test_an_owner_invites_and_the_link_is_shown_and_mailed_once(self, client, owner, tenant):
        page = client.post("/team/acme/", {"email": "new@example.com", "role": "operator"})
        link = page.context["link"]
        assert link in page.content.decode() and link in mail.outbox[0].body
        page = client.get("/team/acme/").content.decode()
        assert link not in page
        assert "new@example.com" in page

    def test_one_team_is_shown_at_once(self, client, owner):
        assert client.get("/team/").headers["Location"] == "/team/acme/"
        Membership.objects.create(user=owner, tenant=TenantFactory(name="Second"), role="viewer")
        assert "Second" in client.get("/team/").content.decode()

    @pytest.mark.parametrize("role", ["operator", "viewer"])
    def test_who_is_no_owner_sees_members_and_changes_nothing(self, client, tenant, owner, role):
        user = member(tenant, role)
        row = Invitation.objects.create(tenant=tenant, email="x@example.com", role="viewer", token_hash="x",
                                        expires_at=datetime(2199, 1, 1, tzinfo=UTC))  # fmt: skip
        client.force_login(user)
        page = client.get("/team/acme/").content.decode()
        assert "olga" in page
        assert "x@example.com" not in page and "olga@example.com" not in page
        other = Membership.objects.get(user=owner)
        for path in (f"/team/members/{other.pk}/role/", f"/team/members/{other.pk}/remove/", "/team/acme/",
                     f"/team/invitations/{row.pk}/revoke/", "/team/acme/second-factor/"):  # fmt: skip
            assert client.post(path, {"role": "viewer", "email": "e@example.com", "required": "yes"}).status_code == 403
        assert not Event.objects.exists()

    def test_another_tenants_people_do_not_exist(self, client, owner):
        foreign = TenantFactory(slug="foreign")
        row = Membership.objects.get(user=member(foreign, "viewer"))
        rows.add_all(foreign, row.user, datetime(2026, 1, 1, tzinfo=UTC))
        invitation = Invitation.objects.get(tenant=foreign)
        for path in (f"/team/members/{row.pk}/role/", f"/team/members/{row.pk}/remove/", "/team/foreign/",
                     f"/team/invitations/{invitation.pk}/revoke/", "/team/foreign/second-factor/"):  # fmt: skip
            assert client.post(path, {"role": "owner"}).status_code == 404
        assert client.get("/team/foreign/").status_code == 404

    def test_a_role_changes_and_the_last_owner_stays(self, client, owner, tenant):
        row = Membership.objects.get(user=member(tenant))
        client.post(f"/team/members/{row.pk}/role/", {"role": "operator"})
        row.refresh_from_db()
        assert row.role == "operator"
        mine = Membership.objects.get(user=owner)
        page = client.post(f"/team/members/{mine.pk}/remove/", follow=True)
        assert "keeps an owner" in page.content.decode()
        assert Membership.objects.filter(pk=mine.pk).exists()

    def test_somebody_leaves(self, client, owner, tenant):
        user = member(tenant)
        rows.add_all(tenant, user, datetime(2026, 1, 1, tzinfo=UTC))
        client.force_login(user)
        assert client.post(f"/team/members/{Membership.objects.get(user=user).pk}/remove/").headers["Location"] == "/"
        assert ApiToken.objects.get().revoked_at
        assert client.get("/team/acme/").status_code == 404

    def test_says_what_will_happen_before_it_does(self, client, owner, tenant):
        """In the page as it comes: nothing is sent without it being open, with script or without."""
        ann = member(tenant, "viewer", username="ann", first_name="<i>Ann</i>")
        equip(ann)
        member(TenantFactory(), username="elsewhere")
        invitations.invite(tenant, "new@example.com", "viewer", owner, timezone.now())
        page = client.get("/team/acme/").content.decode()
        asked = re.findall(r'<details class="ask">(.*?)</details>', page, re.DOTALL)
        acts = [re.findall(r'action="(/team/[^"]+)"', each) for each in asked]
        outside = re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL)
        assert [len(each) for each in acts] == [1, 1, 1, 1]
        assert not re.search(r'action="/team/[^"]+/(remove|revoke|second-factor)/"', outside)
        ann_goes, leaves, revoked, all_asked = (" ".join(re.sub(r"<[^>]+>", " ", each).split()) for each in asked)
        assert "&lt;i&gt;Ann&lt;/i&gt; will no longer see anything of Acme Foods" in ann_goes
        assert "API tokens for it end at once" in ann_goes and "your API tokens for it end at once" in leaves
        assert "new@example.com will no longer be good" in revoked
        assert "1 of 2 members has none, you among them" in all_asked

    def test_who_sees_only_themselves_is_asked_when_they_leave(self, client, owner, tenant):
        client.force_login(member(tenant, "viewer"))
        page = client.get("/team/acme/").content.decode()
        assert page.count('<details class="ask">') == 1 and "Leave Acme Foods" in page

    def test_staff_need_the_right(self, client, tenant):
        client.force_login(UserFactory(is_staff=True))
        assert client.get("/team/acme/").status_code == 200
        assert client.post("/team/acme/", {"email": "a@example.com", "role": "owner"}).status_code == 403
        client.force_login(StaffFactory())
        assert client.post("/team/acme/", {"email": "a@example.com", "role": "owner"}).status_code == 200

    def test_an_owner_asks_a_second_factor_of_all(self, client, owner, tenant):
        client.post("/team/acme/second-factor/", {"required": "yes"})
        assert client.get("/devices/").headers["Location"] == "/account/2fa/"
        tenant.refresh_from_db()
        assert tenant.mfa_required


class TestJoining:
    @pytest.fixture
    def link(self, tenant):
        asking = member(tenant, "owner", first_name="<i>Olga</i>")
        _, token = invitations.invite(tenant, "new@example.com", "operator", asking, timezone.now())
        return f"/invitation/{token}/"

    def test_somebody_new_makes_an_account(self, client, link, tenant):
        answer = client.get(link)
        assert (answer.headers["Location"], answer.headers["Referrer-Policy"]) == ("/invitation/", "no-referrer")
        page = is_ours(client.get("/invitation/"))
        assert "new@example.com" in page and "&lt;i&gt;Olga&lt;/i&gt;" in page
        assert link.split("/")[2] not in page
        answer = client.post("/invitation/", {"username": "newbie", "password": PASSWORD, "email": "evil@example.com"})
        assert answer.headers["Location"] == "/"
        user = User.objects.get(username="newbie")
        assert user.email == "new@example.com"
        assert user.emailaddress_set.get().verified is False
        assert Membership.objects.get(user=user).role == "operator"
        assert client.get("/").context["user"] == user
        assert client.get(link).status_code == 404

    @pytest.mark.parametrize(
        "sent",
        [
            {"username": "newbie", "password": "short"},
            {"username": "newbie", "password": "new@example.com"},
            {"username": "TAKEN", "password": PASSWORD},
            {"username": "", "password": PASSWORD},
            {"username": "a b", "password": PASSWORD},
        ],
    )
    def test_what_is_no_account_is_refused_and_the_link_stays_good(self, client, link, sent):
        UserFactory(username="taken")
        people = User.objects.count()
        client.get(link)
        assert client.post("/invitation/", sent).status_code == 400
        assert User.objects.count() == people
        assert client.get(link).status_code == 302

    def test_somebody_signed_in_joins_with_a_click(self, client, link, tenant):
        user = member(TenantFactory())
        client.force_login(user)
        client.get(link)
        assert not Membership.objects.filter(user=user, tenant=tenant).exists()
        assert client.post("/invitation/").headers["Location"] == "/"
        assert Membership.objects.get(user=user, tenant=tenant).role == "operator"

    def test_somebody_with_an_account_signs_in_first(self, client, link, tenant):
        user = UserFactory(username="known", email="new@example.com", password=PASSWORD)
        client.get(link)
        page = client.get("/invitation/").content.decode()
        assert "/sign-in/?next=/invitation/" in page and 'name="password"' not in page
        assert client.post("/invitation/", {"username": "second", "password": PASSWORD}).status_code == 200
        answer = client.post("/sign-in/?next=/invitation/", {"username": "known", "password": PASSWORD})
        assert answer.headers["Location"] == "/invitation/"
        client.post("/invitation/")
        assert Membership.objects.get(user=user).tenant == tenant

    @pytest.mark.parametrize("path", ["/invitation/", "/invitation/x/", f"/invitation/{'x' * 43}/"])
    def test_without_a_good_link_there_is_nothing(self, client, path):
        assert client.get(path).status_code == 404
        assert not Session.objects.exists()


def test_the_menu_of_a_person_leads_to_all_of_it(client, owner):
    page = client.get("/").content.decode()
    for name in ("preferences", "mfa_index", "usersessions_list", "team", "sign-out"):
        assert reverse(name) in page
