"""Signing in, forgotten passwords, teams and invitations, second factors: with one person who is invited and joins."""

import base64
import hmac
import re
import struct
import time
from email import message_from_bytes, policy

from playwright.sync_api import Page

from tests.fleet import eventually
from tests.screens.camera import Camera, Story

PASSWORD = "eleven quiet freezers"
MIA, MAIL = "mia", "mia.keller@example.com"
AUTHENTICATOR = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip


def mailed(camera: Camera, address: str, path: str) -> str:
    """The link below `path` in the newest mail to somebody."""

    def found() -> str:
        for file in sorted((camera.fleet.var / "mail").iterdir(), key=lambda each: each.stat().st_mtime, reverse=True):
            for part in reversed(file.read_bytes().split(b"-" * 79 + b"\n")):
                mail = message_from_bytes(part.strip(), policy=policy.default)
                links = re.findall(rf"https?://[^/\s]+({path}\S+)", mail.get_content())
                if links and address in str(mail["to"]):
                    return str(links[0])
        return ""

    return str(eventually(found, 30, what=f"mail to {address}"))


def code(secret: str) -> str:
    """What an authenticator app shows now (RFC 6238)."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    told = hmac.digest(key, struct.pack(">Q", int(time.time()) // 30), "sha1")
    at = told[-1] & 15
    return f"{(int.from_bytes(told[at : at + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


def enter(page: Page, username: str, password: str) -> None:
    """Fill in the sign-in page."""
    page.fill("[name=username]", username)
    page.fill("[name=password]", password)
    page.press("[name=password]", "Enter")


def sure(page: Page) -> None:
    """The password once more, where it is asked for."""
    if page.locator("[name=password]").count():
        page.fill("[name=password]", PASSWORD)
        page.press("[name=password]", "Enter")
        page.wait_for_selector("[name=password]", state="detached")


def doors(camera: Camera) -> None:
    """What somebody sees who is not signed in."""
    for name in ("sign-in", "sign-in-dark", "sign-in-phone-dark"):
        page = camera.fresh(name)
        camera.go(page, "/sign-in/")
        camera.take(name, page)
        page.context.close()
    page = camera.fresh("sign-in-wrong")
    camera.go(page, "/sign-in/")
    enter(page, "acme-owner", "guessed")
    page.wait_for_selector("[role=alert], .error")
    camera.take("sign-in-wrong", page)
    page.context.close()


def forgotten(camera: Camera) -> None:
    """A forgotten password, each step."""
    page = camera.fresh("password-forgotten-phone-dark")
    camera.go(page, "/account/password/reset/")
    camera.take("password-forgotten-phone-dark", page)
    page.fill("[name=email]", "nordwatt-operator@example.com")
    page.press("[name=email]", "Enter")
    page.wait_for_url("**/done/")
    camera.take("password-mailed-phone-dark", page)
    camera.go(page, mailed(camera, "nordwatt-operator@example.com", "/account/password/reset/key/"))
    page.wait_for_selector("[type=password]")
    camera.take("password-new-phone-dark", page)
    for each in page.locator("[type=password]").all():
        each.fill(PASSWORD)
    page.locator("[type=password]").last.press("Enter")
    page.wait_for_url("**/done/")
    camera.take("password-set-phone-dark", page)
    page.context.close()
    page = camera.fresh("password-link-gone")
    camera.go(page, "/account/password/reset/key/1-set-password/")
    camera.take("password-link-gone", page)
    page.context.close()


def team(camera: Camera) -> None:
    """The owner invites somebody, who comes by the link and joins."""
    page = camera.open("team", "acme-owner", "/team/acme-foods/")
    page.fill(".invite [name=email]", "lena.vogt@example.com")
    page.click(".invite button")
    page.wait_for_selector("#link")
    camera.go(page, "/team/acme-foods/")
    camera.take("team", page)
    page.fill(".invite [name=email]", MAIL)
    page.select_option(".invite [name=role]", "operator")
    page.click(".invite button")
    page.wait_for_selector("#link")
    camera.take("team-invited", page)
    link = "/invitation/" + page.input_value("#link").split("/invitation/")[1]
    page.context.close()
    page = camera.open("team-phone-dark", "acme-owner", "/team/acme-foods/")
    camera.take("team-phone-dark", page)
    page.context.close()
    page = camera.open("team-viewer", "acme-viewer", "/team/acme-foods/")
    camera.take("team-viewer", page)
    page.context.close()
    page = camera.open("invitation-signed-in", "nordwatt-viewer", link)
    camera.take("invitation-signed-in", page)
    page.context.close()
    for name in ("invitation", "invitation-phone-dark"):
        page = camera.fresh(name)
        camera.go(page, link)
        page.fill("[name=username]", MIA)
        page.fill("[name=first_name]", "Mia")
        page.fill("[name=last_name]", "Keller")
        page.fill("[name=password]", PASSWORD)
        camera.take(name, page)
        if name == "invitation":
            page.context.close()
    page.press("[name=password]", "Enter")
    page.wait_for_url(camera.url + "/")
    page.context.close()
    page = camera.fresh("invitation-gone")
    camera.go(page, link)
    page.errors.clear()  # the browser notes the 404 or 410 itself
    camera.take("invitation-gone", page)
    page.context.close()


def factors(camera: Camera) -> None:
    """Mia looks at her account, sets up an app and a passkey, and signs in with them."""
    hand, page = camera.fresh("security-phone-dark"), camera.fresh("security")
    for each in (hand, page):
        camera.go(each, "/sign-in/")
        enter(each, MIA, PASSWORD)
        each.wait_for_url(camera.url + "/")
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    for name, path in (
        ("sessions", "/account/sessions/"), ("security-none", "/account/2fa/"),
        ("password-change", "/account/password/change/"), ("sign-out", "/account/logout/"),
    ):  # fmt: skip
        camera.go(page, path)
        camera.take(name, page)
    camera.go(page, "/account/email/")
    for _ in range(2):  # who has not shown for a while who they are is asked first
        page.fill("[name=email]:not([type=hidden])", "m.keller@example.com")
        page.click("[name=action_add]")
        page.wait_for_selector("[name=password], main b:text('m.keller@example.com')")
        sure(page)
    camera.go(page, "/account/email/")
    camera.take("email-address", page)
    camera.go(page, mailed(camera, "m.keller@example.com", "/account/confirm-email/"))
    camera.take("email-confirm", page)
    camera.go(page, "/account/2fa/totp/activate/")
    sure(page)
    page.wait_for_selector("img.qr")
    camera.take("security-app", page)
    page.fill("[name=code]", code(page.input_value("#authenticator_secret")))
    page.press("[name=code]", "Enter")
    page.wait_for_url("**/recovery-codes/")
    camera.take("recovery-codes", page)
    camera.go(page, "/account/2fa/webauthn/add/")
    page.fill("[name=name]", "Laptop in the office")
    camera.take("passkey-add", page)
    page.click("#mfa_webauthn_add")
    page.wait_for_url("**/account/2fa/")
    camera.take("security", page)
    camera.go(page, "/account/2fa/webauthn/")
    camera.take("passkeys", page)
    state = page.context.storage_state()
    page.context.clear_cookies()
    camera.go(page, "/sign-in/")
    enter(page, MIA, PASSWORD)
    page.wait_for_selector("[name=code]")
    camera.take("sign-in-code", page)
    page.context.close()
    hand.context.clear_cookies()
    camera.go(hand, "/sign-in/")
    enter(hand, MIA, PASSWORD)
    hand.wait_for_selector("[name=code]")
    camera.take("sign-in-code-phone-dark", hand)
    hand.context.clear_cookies()
    hand.context.add_cookies(state["cookies"])
    for name, path in (
        ("security-phone-dark", "/account/2fa/"), ("recovery-codes-phone-dark", "/account/2fa/recovery-codes/"),
        ("passkeys-phone-dark", "/account/2fa/webauthn/"), ("sessions-phone-dark", "/account/sessions/"),
        ("email-address-phone-dark", "/account/email/"),
    ):  # fmt: skip
        camera.go(hand, path)
        camera.take(name, hand)
    hand.context.close()


ENTRANCE = Story(
    "Signing in",
    {
        "sign-in": "The one door, for customers and staff",
        "sign-in-dark": "The door in the dark",
        "sign-in-phone-dark": "The door on a phone",
        "sign-in-wrong": "A wrong password",
    },
    doors,
)
FORGOTTEN = Story(
    "A forgotten password",
    {
        "password-forgotten-phone-dark": "Ask for a mail",
        "password-mailed-phone-dark": "The mail is on its way",
        "password-new-phone-dark": "The link leads here: set a new one",
        "password-set-phone-dark": "It is set, and what ended with it",
        "password-link-gone": "A link that is used, old or broken",
    },
    forgotten,
)
TEAM = Story(
    "The team",
    {
        "team": "The owner's page: members, roles, who is invited",
        "team-invited": "After inviting: the link, shown once",
        "team-phone-dark": "The team on a phone",
        "team-viewer": "The team as a viewer sees it",
        "invitation": "Somebody new makes an account and joins",
        "invitation-phone-dark": "Somebody new joins on a phone",
        "invitation-signed-in": "Somebody who has an account joins with a click",
        "invitation-gone": "An invitation that is over",
    },
    team,
)
FACTORS = Story(
    "An account and its second factors",
    {
        "sessions": "Where one is signed in",
        "sessions-phone-dark": "Where one is signed in, on a phone",
        "security-none": "No second factor yet",
        "password-change": "Change the password",
        "sign-out": "Sign out",
        "email-address": "The e-mail address, and a new one that waits to be confirmed",
        "email-address-phone-dark": "The e-mail address on a phone",
        "email-confirm": "The link of that mail leads here",
        "security-app": "Set up an authenticator app",
        "recovery-codes": "Recovery codes come with the first",
        "recovery-codes-phone-dark": "Recovery codes on a phone",
        "passkey-add": "Add a passkey",
        "passkeys": "Passkeys and security keys",
        "passkeys-phone-dark": "Passkeys on a phone",
        "security": "All second factors, set up",
        "security-phone-dark": "All second factors on a phone",
        "sign-in-code": "The code is asked for at sign-in, or the passkey",
        "sign-in-code-phone-dark": "The code on a phone",
    },
    factors,
)
