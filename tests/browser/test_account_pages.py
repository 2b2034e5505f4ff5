"""People sign in, set up second factors and join a team, in a real browser: on a phone in the dark and on a desk."""

import os
from urllib.parse import urlsplit

import pytest
from django.core import mail
from django.urls import reverse

from devices.models import Membership
from tests.factories import TenantFactory, member
from tests.fleetportal.accounts.codes import code, equip

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "a long enough password"
PICTURES = os.environ.get("ACCOUNT_PICTURES", "")


@pytest.fixture
def tenant(transactional_db):
    return TenantFactory(name="Acme Foods", slug="acme")


@pytest.fixture
def enter(browser, live_server):
    """A page of a browser of its own; what its console says is collected in `page.errors`."""
    contexts = []

    def opened(path, width=1280, scheme="light", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.errors = []
        page.on("console", lambda told: page.errors.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(live_server.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()


def sign_in(page, username):
    page.fill("input[name=username]", username)
    page.fill("input[name=password]", PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def confirm(page):
    """The password once more, before something that matters."""
    page.fill("input[name=password]", PASSWORD)
    page.get_by_role("button", name="Confirm").click()


def is_at(page, name, *args):
    page.wait_for_url(lambda url: urlsplit(url).path == reverse(name, args=args), timeout=10_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the screen"


def picture(page, name):
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


def own(page):
    """Errors that are the page's: this server has no WebSockets."""
    return [error for error in page.errors if "/ws/live" not in error]


def test_by_keyboard_alone_with_a_code(enter, tenant):
    equip(member(tenant, username="olga", password=PASSWORD))
    page = enter("/sign-in/?next=/devices/")
    assert page.evaluate("document.activeElement.name") == "username"
    page.keyboard.type("olga")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    is_at(page, "mfa_authenticate")
    picture(page, "authenticate")
    assert page.evaluate("document.activeElement.name") == "code"
    page.keyboard.type(code())
    page.keyboard.press("Enter")
    is_at(page, "device-list")
    page.locator("details.person summary").focus()
    page.keyboard.press("Enter")
    picture(page, "menu")
    page.get_by_role("button", name="Sign out").focus()
    page.keyboard.press("Enter")
    is_at(page, "sign-in")
    assert own(page) == []


def test_an_app_and_a_passkey_are_set_up_on_a_phone_in_the_dark(enter, tenant, live_server):
    tenant.mfa_required = True
    tenant.save()
    member(tenant, username="olga", password=PASSWORD)
    page = enter("/sign-in/", 390, "dark")
    picture(page, "sign-in-phone")
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
               "isUserVerified": True, "automaticPresenceSimulation": True}  # fmt: skip
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    sign_in(page, "olga")
    is_at(page, "mfa_index")  # her team asks for it
    assert "asks for a second factor" in page.inner_text("main")
    picture(page, "mfa-phone")
    page.get_by_role("link", name="Activate").click()
    confirm(page)
    is_at(page, "mfa_activate_totp")
    assert page.locator("img.qr").evaluate("image => image.naturalWidth") > 0
    picture(page, "totp-phone")
    page.fill("input[name=code]", code(page.input_value("#authenticator_secret")))
    page.get_by_role("button", name="Activate").click()
    is_at(page, "mfa_view_recovery_codes")
    picture(page, "recovery-phone")

    page.goto(live_server.url + reverse("mfa_add_webauthn"))
    page.fill("input[name=name]", "My phone")
    assert page.is_checked("input[name=passwordless]")
    picture(page, "passkey-phone")
    page.locator("#mfa_webauthn_add").click()
    is_at(page, "mfa_index")
    page.goto(live_server.url + reverse("mfa_list_webauthn"))
    assert "My phone" in page.inner_text("main")
    picture(page, "keys-phone")

    page.context.clear_cookies()
    page.goto(live_server.url + "/sign-in/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    is_at(page, "overview")
    page.goto(live_server.url + "/devices/")
    is_at(page, "device-list")

    page.context.clear_cookies()
    page.goto(live_server.url + "/sign-in/")
    sign_in(page, "olga")
    is_at(page, "mfa_authenticate")
    page.keyboard.press("Enter")  # the passkey is offered first
    is_at(page, "overview")
    assert own(page) == []


def test_who_is_removed_is_asked_about_first_without_script_and_by_keyboard(enter, tenant):
    member(tenant, "owner", username="olga", password=PASSWORD)
    member(tenant, "viewer", username="ann")
    page = enter("/sign-in/?next=/team/acme/", 390, "dark", java_script_enabled=False)
    sign_in(page, "olga")
    is_at(page, "team-of", "acme")
    asks = page.locator(".ask", has_text="Remove ann")
    assert not asks.locator("button").is_visible()
    asks.locator("summary").press("Enter")
    assert "Their API tokens for it end at once" in asks.inner_text()
    assert asks.locator("summary").inner_text() == "Cancel"
    assert Membership.objects.count() == 2
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("ann is no longer in the team").wait_for()
    assert Membership.objects.get().user.username == "olga"
    assert own(page) == []


def test_somebody_is_invited_and_joins(enter, tenant):
    member(tenant, "owner", username="olga", first_name="Olga", password=PASSWORD)
    page = enter("/sign-in/?next=/team/")
    sign_in(page, "olga")
    is_at(page, "team-of", "acme")
    page.fill("input[name=email]", "new@example.com")
    page.select_option(".invite select", "operator")
    page.get_by_role("button", name="Invite").click()
    page.wait_for_selector("#link")
    picture(page, "team")
    link = page.input_value("#link")
    assert link in mail.outbox[0].body
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture(page, "team-phone")

    other = enter("/sign-in/", 390, "dark")
    other.goto(link)
    is_at(other, "invitation")
    picture(other, "invitation-phone")
    other.fill("input[name=username]", "newbie")
    other.fill("input[name=password]", PASSWORD)
    other.get_by_role("button", name="Make an account and join").click()
    is_at(other, "overview")
    assert Membership.objects.get(user__username="newbie").role == "operator"
    assert own(page) + own(other) == []


def test_another_session_is_ended_and_the_theme_is_chosen(enter, tenant, live_server):
    member(tenant, username="olga", password=PASSWORD)
    page, other = enter("/sign-in/"), enter("/sign-in/")
    for each in (page, other):
        sign_in(each, "olga")
        is_at(each, "overview")
    page.goto(live_server.url + reverse("usersessions_list"))
    assert page.locator(".account-list li").count() == 2
    picture(page, "sessions")
    page.get_by_role("button", name="Sign out all others").click()
    page.wait_for_function("document.querySelectorAll('.account-list li').length === 1")
    other.goto(live_server.url + "/devices/")
    is_at(other, "sign-in")

    page.goto(live_server.url + reverse("preferences"))
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Dark").check()
    page.select_option("select[name=timezone]", "Asia/Tokyo")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("html[data-theme=dark][data-timezone='Asia/Tokyo']")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    picture(page, "preferences-dark")
    assert own(page) == []
