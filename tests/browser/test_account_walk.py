"""Every page about people, walked: whole, light, and open to all. One that is added and not walked fails here."""

import gzip
import os
import re
from functools import cache
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core import mail
from django.template.loader import render_to_string
from django.test import Client
from django.urls import Resolver404, resolve, reverse
from django.utils import timezone

from devices.models import Membership
from devices.people import api_tokens, invitations
from tests.browser.axe import serious
from tests.browser.test_dashboard_pages import LIMIT
from tests.browser.test_identity_pages import WIDE
from tests.factories import StaffFactory, TenantFactory, UserFactory, member
from tests.fleetportal.accounts.apps import Portal, register
from tests.fleetportal.accounts.codes import equip
from tests.fleetportal.accounts.passkeys import give_passkey
from tests.fleetportal.test_foreign_tenant import routes
from tests.fleetportal.world import SCRIPT

_LONG = pytest.mark.browser_long
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "a long enough password"
ABOUT_PEOPLE = ("sign-", "account/", "tokens/", "preferences/", "team/", "invitation/", "identity/")
NO_PAGES = {
    "", "account_confirm_login_code", "account_login", "account_set_password", "app-end", "invitation-link",
    "mfa_download_recovery_codes", "mfa_login_webauthn", "revoke", "session-end", "sign-out", "team-invitation-revoke",
    "team-member-remove", "team-member-role", "team-second-factor", "token", "token-revoke", "userinfo",
}  # fmt: skip
"""Routes below these addresses that answer with a redirect, a file or JSON."""
MISTAKES = sorted(each.stem for each in Path(settings.BASE_DIR, "templates").glob("[45]*.html"))
PICTURES = os.environ.get("ACCOUNT_PICTURES", "")
LOADED = """() => performance.getEntriesByType("resource").map(({ name }) => name)
  .filter((name) => /\\.(css|js)$/.test(new URL(name).pathname))"""
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) AppleWebKit/605.1.15 Version/26.1 Mobile Safari/604.1"


@cache
def packed(path):
    """Bytes of a static file as it is sent."""
    return len(gzip.compress(Path(finders.find(path.removeprefix(settings.STATIC_URL))).read_bytes()))


class Walk:
    """Pages, one after the other, each as somebody; what is wrong with them stays in `wrong`."""

    def __init__(self, home, look, page):
        self.home, self.wrong, self.seen = home, {}, set()
        self._look, self._page, self._jars = look, page, {}
        self._errors = []
        page.on("console", lambda said: self._errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self._errors.append(str(error)))

    def come(self, who, client):
        """Somebody, with the session of a client."""
        name, found = settings.SESSION_COOKIE_NAME, client.cookies.get(settings.SESSION_COOKIE_NAME)
        self._jars[who] = [{"name": name, "value": found.value, "url": self.home}] if found else []

    def answer(self, path, status, body):
        """What the server would answer, had something gone wrong in it."""
        told = {"status": status, "body": body, "content_type": "text/html"}
        self._page.route(self.home + path, lambda route: route.fulfill(**told))

    def __call__(self, name, who, path, act=None, *, says):
        """See a page, after something was done on it."""
        page = self._page
        page.context.clear_cookies()
        page.context.add_cookies(self._jars[who])
        answer = page.goto(self.home + path)
        if act:
            act(page)
        self.seen.add(name_of(urlsplit(page.url).path))
        if PICTURES:
            page.screenshot(path=f"{PICTURES}/{name}-{self._look}.png", full_page=True)
        refused = answer.status >= HTTPStatus.BAD_REQUEST
        errors = [each for each in self._errors if not (refused and "responded with a status of" in each)]
        text = page.inner_text("main")
        found = [page.evaluate(WIDE), self._weight() > LIMIT, serious(page), errors, says not in text and text]
        if any(found):
            self.wrong[name] = found
        self._errors.clear()
        self._jars[who] = page.context.cookies()

    def _weight(self):
        """Bytes of script and style that it has loaded, packed as a proxy would."""
        return sum(packed(urlsplit(url).path) for url in self._page.evaluate(LOADED))


def name_of(path):
    """Which route a page is of."""
    try:
        return resolve(path).url_name
    except Resolver404:
        return ""


@pytest.fixture
def walk(browser, server, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield Walk(server.url.replace("127.0.0.1", "localhost"), f"{width}-{scheme}", context.new_page())
    context.close()


@pytest.fixture
def tenant(transactional_db):
    return TenantFactory(name="Acme Foods", slug="acme")


def signed_in(user, **options):
    client = Client(**options)
    client.force_login(user)
    return client


def show_password(client):
    assert client.post(reverse("account_reauthenticate"), {"password": PASSWORD}).status_code == 302


def pages():
    """Names of all routes about people that have a page."""
    names = {name for route, name in routes() if route.startswith(ABOUT_PEOPLE)}
    assert names >= NO_PAGES
    return names - NO_PAGES


def before_signing_in(walk, tenant):
    """Somebody whom the portal does not know yet."""
    known = member(tenant, username="lena", email="lena@example.com", password=PASSWORD)
    EmailAddress.objects.create(user=known, email=known.email, primary=True, verified=True)
    walk.come("nobody", Client())

    def guess(page):
        page.fill("input[name=username]", "lena")
        page.fill("input[name=password]", "wrong")
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.locator(".error").first.wait_for()

    walk("sign-in", "nobody", reverse("sign-in"), says="Forgot your password?")
    walk("sign-in-wrong", "nobody", reverse("sign-in"), guess, says="not correct")
    walk("password-forgotten", "nobody", reverse("account_reset_password"), says="Mail me the link")

    def ask(page):
        page.fill("input[name=email]", "lena@example.com")
        page.get_by_role("button", name="Mail me the link").click()
        page.wait_for_url("**/done/")

    walk("password-mailed", "nobody", reverse("account_reset_password"), ask, says="Look into your mail")
    link = urlsplit(re.search(r"http\S+", mail.outbox[-1].body)[0]).path

    def choose(page):
        for field in ("password1", "password2"):
            page.fill(f"input[name={field}]", "some words of my own")
        page.get_by_role("button", name="Set it").click()
        page.wait_for_url("**/key/done/")

    walk("password-new", "nobody", link, says="Set a new password")
    walk("password-set", "nobody", link, choose, says="Your password is set")
    walk("password-link-gone", "nobody", link, says="no longer good")
    walk("confirm-mailed", "nobody", reverse("account_email_verification_sent"), says="A link was mailed")
    walk("confirm-link-gone", "nobody", reverse("account_confirm_email", args=["x"]), says="no longer good")
    address = EmailAddress.objects.create(user=known, email="other@example.com")
    key = EmailConfirmationHMAC.create(address).key
    walk("confirm", "nobody", reverse("account_confirm_email", args=[key]), says="other@example.com")
    walk("switched-off", "nobody", reverse("account_inactive"), says="switched off")
    walk("closed", "nobody", reverse("account_signup"), says="By invitation only")


def the_second_step(walk, tenant):
    """The password was right; who has what is asked for what."""
    for name, gives in {"app": [equip], "key": [give_passkey], "both": [equip, give_passkey]}.items():
        user = member(tenant, username=f"step-{name}", password=PASSWORD)
        for give in gives:
            give(user)
        client = Client()
        client.post(reverse("sign-in"), {"username": user.username, "password": PASSWORD})
        walk.come(name, client)
        walk(f"second-step-{name}", name, reverse("mfa_authenticate"), says="Your password was right")


def on_their_own(walk, tenant):
    """Somebody with no second factor, and all that is theirs."""
    olga = member(tenant, "owner", username="olga", first_name="Olga", email="olga@example.com", password=PASSWORD)
    EmailAddress.objects.create(user=olga, email=olga.email, primary=True, verified=True)
    now, client = timezone.now(), Client(headers={"user-agent": FIREFOX})
    client.post(reverse("sign-in"), {"username": "olga", "password": PASSWORD})
    walk.come("olga", client)
    walk("again-password", "olga", reverse("account_reauthenticate"), says="Is it still you?")
    show_password(client)
    for agent in (PHONE, f"{SCRIPT} {'x' * 200}"):
        Client(headers={"user-agent": agent}).post(reverse("sign-in"), {"username": "olga", "password": PASSWORD})
    walk("preferences", "olga", reverse("preferences"), says="Time zone")
    walk("password", "olga", reverse("account_change_password"), says="Change it")
    walk("email", "olga", reverse("account_email"), says="olga@example.com")

    def change(page):
        page.fill("input[name=email]", "new@example.com")
        page.get_by_role("button", name="Change it").click()
        page.get_by_text("waits to be confirmed").wait_for()

    walk("email-waits", "olga", reverse("account_email"), change, says="new@example.com")
    walk("sessions", "olga", reverse("usersessions_list"), says="This one")
    walk("security", "olga", reverse("mfa_index"), says="They come with your first second factor")
    walk("totp", "olga", reverse("mfa_activate_totp"), says="For an app that cannot scan")
    walk("passkeys-none", "olga", reverse("mfa_list_webauthn"), says="You have none yet")
    walk("passkey-add", "olga", reverse("mfa_add_webauthn"), says="Sign in without a password")
    walk("sign-out", "olga", reverse("account_logout"), says="Sign out?")
    walk("tokens-none", "olga", reverse("tokens"), says="None yet")
    row = api_tokens.make(olga, tenant, "Power BI", ["devices:read", "readings:read"], api_tokens.LIFETIME, now)[0]
    api_tokens.used(row, now)
    api_tokens.make(olga, tenant, SCRIPT, ["devices:read"], api_tokens.LIFETIME, now)
    api_tokens.revoke(
        api_tokens.make(olga, tenant, "Old", ["devices:read"], api_tokens.LIFETIME, now)[0], user=olga, now=now
    )

    def make(page):
        page.get_by_label("What is it for?").fill("Nightly report")
        page.get_by_label("See devices, where they are").check()
        page.get_by_role("button", name="Make the token").click()
        page.get_by_label("The token").wait_for()

    walk("tokens", "olga", reverse("tokens"), says="Revoked")
    walk("token-made", "olga", reverse("tokens"), make, says="It is shown only now")
    portal = Portal(walk.home, runs=True)
    portal.app(register(name="Berg Dashboards")).sign_in(portal.person(olga))
    walk("tokens-with-an-app", "olga", reverse("tokens"), says="Take access away")
    address = portal.app(register(name="Cold Watch")).address().removeprefix(walk.home)
    walk("consent", "olga", address, says="Allow Cold Watch?")
    walk("consent-mistake", "olga", address.replace("back", "x"), says="This app cannot sign you in")


def with_second_factors(walk, tenant):
    """Somebody who has all of them."""
    ann = member(tenant, "operator", username="ann", password=PASSWORD)
    equip(ann)
    key = give_passkey(ann)
    give_passkey(ann, SCRIPT, passwordless=False)
    client = signed_in(ann)
    walk.come("ann", client)
    walk("again-password-of-all", "ann", reverse("account_reauthenticate"), says="Is it still you?")
    walk("again-code", "ann", reverse("mfa_reauthenticate"), says="Is it still you?")
    walk("again-passkey", "ann", reverse("mfa_reauthenticate_webauthn"), says="Is it still you?")
    show_password(client)
    walk("security-all", "ann", reverse("mfa_index"), says="2 set up")
    walk("totp-remove", "ann", reverse("mfa_deactivate_totp"), says="Keep it")
    walk("recovery", "ann", reverse("mfa_view_recovery_codes"), says="10 of 10 left")
    walk("recovery-new", "ann", reverse("mfa_generate_recovery_codes"), says="stop working")
    walk("passkeys", "ann", reverse("mfa_list_webauthn"), says="My phone")
    walk("passkey-rename", "ann", reverse("mfa_edit_webauthn", args=[key.pk]), says="Rename")
    walk("passkey-remove", "ann", reverse("mfa_remove_webauthn", args=[key.pk]), says="Keep it")


def in_a_team(walk, tenant):
    """Owners, viewers, staff, and who is not in it yet."""
    now = timezone.now()
    owner = member(tenant, "owner", username="oscar", first_name="Oscar", last_name="Ek", email="oscar@example.com")
    member(tenant, "viewer", username="a-rather-long-user-name-of-a-viewer", email=f"{'long' * 12}@example.com")
    berg = TenantFactory(name="Berg Logistics")
    elsewhere, both = member(berg, username="berta"), member(berg, username="bo")
    Membership.objects.create(user=both, tenant=tenant, role="viewer")
    people = {"owner": owner, "viewer": member(tenant, "viewer", username="vera"), "elsewhere": elsewhere,
              "both": both, "staff": StaffFactory(username="sam"), "alone": UserFactory(username="al")}  # fmt: skip
    for who, user in people.items():
        walk.come(who, signed_in(user))
    invitations.invite(tenant, "waiting@example.com", "operator", owner, now)

    def invite(page):
        page.fill("input[name=email]", "second@example.com")
        page.get_by_role("button", name="Invite").click()
        page.wait_for_selector("#link")

    def open_all(page):
        for each in page.locator("main details > summary").all():
            each.press("Enter")

    here = reverse("team-of", args=[tenant.slug])
    walk("team", "owner", here, says="Members")
    walk("team-asks", "owner", here, open_all, says="API tokens")
    walk("team-invited", "owner", here, invite, says="It is shown only now")
    walk("team-of-a-viewer", "viewer", here, open_all, says="Leave")
    walk("team-of-staff", "staff", here, says="Invite somebody")
    walk("teams-of-staff", "staff", reverse("team"), says="in the admin")
    walk("teams", "both", reverse("team"), says="Berg Logistics")
    walk("teams-none", "alone", reverse("team"), says="You are in no team")
    link = reverse("invitation-link", args=[invitations.invite(tenant, "new@example.com", "viewer", owner, now)[1]])
    walk.come("guest", Client())
    walk("invitation", "guest", link, says="Make an account and join")
    walk("invitation-as-somebody", "elsewhere", link, says="Sign out, I am somebody else")
    UserFactory(username="nina", email="new@example.com")
    walk("invitation-known", "guest", link, says="Sign in to join")
    walk("invitation-gone", "guest", reverse("invitation-link", args=["x" * 43]), says="Ask whoever invited you")


def mistakes(walk, tenant):
    """What is answered where nothing else is: every such page there is."""
    walk.come("lost", Client())
    assert "503" in MISTAKES
    for name in MISTAKES:
        walk.answer(f"/{name}", int(name[:3]), render_to_string(f"{name}.html"))
        walk(f"mistake-{name}", "lost", f"/{name}", says="To the overview")
    walk("api-docs", "lost", reverse("api-docs"), says="curl")
    walk("mistake-real", "lost", "/nowhere/", says="Page not found")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), pytest.param(1280, "light", marks=_LONG)])
def test_every_page_is_whole_light_and_has_no_serious_issue(walk, tenant, settings, width, scheme):
    settings.PORTAL_URL = walk.home
    for part in (before_signing_in, the_second_step, on_their_own, with_second_factors, in_a_team, mistakes):
        part(walk, tenant)
    assert walk.wrong == {}
    assert pages() - walk.seen == set()
