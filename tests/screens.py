"""`python -m tests.screens [run.json [name…]]`: the pictures of the README and docs/screens/, from a demo.

All of them need a campaign in it; those of customers' pages (CUSTOMERS) need none.
"""

import json
import sys
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser

from tests.chromium import chromium, sign_in
from tests.fleet import ROOT

OUT = ROOT / "docs" / "screens"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
DEVICE = 'main a[href^="/devices/d-"]'
CUSTOMERS = {
    "overview": ("/", WIDE, "light", []),
    "overview-phone-dark": ("/", PHONE, "dark", []),
    "devices": ("/devices/?state=online", WIDE, "light", []),
    "devices-phone": ("/devices/", PHONE, "light", []),
    "device": ("/devices/?type=cold-logger", WIDE, "light", [DEVICE]),
    "device-phone-dark": ("/devices/?type=pump", PHONE, "dark", [DEVICE]),
    "device-compared-dark": (
        "/devices/?type=cold-logger", WIDE, "dark",
        [DEVICE, "text=Compare with…", ".compare-found button", ".compare-found button"],
    ),
    "device-edit": ("/devices/?type=pump", WIDE, "light", [DEVICE, "text=Name, place, tags"]),
    "device-events": ("/devices/?type=pump", WIDE, "light", [DEVICE, ".menu >> text=What happened"]),
    "exports": ("/exports/", WIDE, "light", []),
    "device-add": ("/devices/add/", PHONE, "light", []),
    "team": ("/team/acme-foods/", WIDE, "light", []),
    "preferences-phone-dark": ("/preferences/", PHONE, "dark", []),
    "sessions": ("/account/sessions/", WIDE, "light", []),
    "security": ("/account/2fa/", WIDE, "light", []),
    "api-docs": ("/api/docs/", WIDE, "light", []),
    "api-docs-phone-dark": ("/api/docs/", PHONE, "dark", []),
}  # fmt: skip
"""Name → address, size, colours, and what is clicked before the picture."""


def main(run_file: Path, *wanted: str) -> None:
    """Take them all, or those that are wanted."""
    run = json.loads(run_file.read_text())
    people = {each["username"]: each["password"] for each in run["sign_ins"]}
    with chromium() as browser:

        def shot(name: str, username: str, path: str, viewport: dict[str, int], scheme: str, *clicks: str) -> None:
            if wanted and name not in wanted:
                return
            context = browser.new_context(viewport=viewport, color_scheme=scheme)
            page = sign_in(context, run["http_url"], username, people[username], path)
            for click in clicks:
                page.locator(click).first.click()
            page.wait_for_timeout(6000)  # so that the picture has something live in it
            page.screenshot(path=OUT / f"{name}.png")
            assert page.errors == [], page.errors
            context.close()

        for name, (path, size, scheme, clicks) in CUSTOMERS.items():
            shot(name, "acme-owner", path, size, scheme, *clicks)
        if not wanted or {"admin-claim-codes", "device-add-found"} & set(wanted):
            sell(browser, run["http_url"], people)
        if not wanted or {"sign-in", "sign-in-phone-dark", "password-forgotten"} & set(wanted):
            enter(browser, run["http_url"])
        if not wanted or {"security-app", "tokens", "consent-phone-dark"} & set(wanted):
            allow(browser, run["http_url"], people)
        shot("admin", "admin", "/admin/", WIDE, "light")
        shot("admin-devices", "admin", "/admin/devices/device/", WIDE, "dark")
        shot("admin-renewals", "admin", "/admin/devices/renewal/", WIDE, "light")
        shot("admin-approvals", "admin", "/admin/devices/approval/", WIDE, "light")
        shot("admin-certificate", "admin", "/admin/devices/certificate/", WIDE, "dark", "#result_list tbody th a")
        shot("admin-cockpit", "admin", "/admin/devices/device/", WIDE, "light", "#result_list tbody th a")
        campaign = "#result_list tbody th a"
        shot("campaign", "operator", "/admin/firmware/campaign/", WIDE, "light", campaign)
        shot("campaign-phone-dark", "operator", "/admin/firmware/campaign/", PHONE, "dark", campaign)
        shot("release", "author", "/admin/firmware/release/", WIDE, "light", campaign)


def sell(browser: Browser, url: str, people: dict[str, str]) -> None:
    """Make claim codes as staff, and come with one of them as who bought the device."""
    staff = browser.new_context(viewport=WIDE, color_scheme="light")
    page = sign_in(staff, url, "admin", people["admin"], "/admin/devices/claimcode/add/")
    page.click(".select2-selection")
    page.locator(".select2-results__option:not(.loading-results)").first.click()
    page.fill("[name=hardware_ids]", "CL2-2026-00417\nCL2-2026-00418\nCL2-2026-00419\nCL2-2026-00420")
    page.click("[name=_save]")
    page.wait_for_selector(".labels")
    page.screenshot(path=OUT / "admin-claim-codes.png")
    code = page.locator(".label code").first.inner_text()
    staff.close()
    buyer = browser.new_context(viewport=PHONE, color_scheme="dark")
    page = sign_in(buyer, url, "acme-owner", people["acme-owner"])
    page.goto(f"{url}/devices/add/?code={code}")
    page.screenshot(path=OUT / "device-add-found.png")
    buyer.close()


def enter(browser: Browser, url: str) -> None:
    """What somebody sees who is not signed in."""
    for name, path, viewport, scheme in (
        ("sign-in", "/sign-in/", WIDE, "light"),
        ("sign-in-phone-dark", "/sign-in/", PHONE, "dark"),
        ("password-forgotten", "/account/password/reset/", PHONE, "light"),
    ):
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        page = context.new_page()
        page.goto(url + path)
        page.screenshot(path=OUT / f"{name}.png")
        context.close()


def allow(browser: Browser, url: str, people: dict[str, str]) -> None:
    """Register an app as staff; as an owner set up a second factor, make a token, and be asked by the app."""
    staff = browser.new_context(viewport=WIDE)
    page = sign_in(staff, url, "admin", people["admin"], "/admin/allauth_idp_oidc/client/add/")
    page.fill("[name=name]", "Cold Watch")
    page.select_option("[name=type]", "public")
    page.fill("[name=redirect_uris]", "https://app.example.com/back")
    for asked in ("profile", "offline_access", "devices:read", "readings:read"):
        page.check(f"[name=asks][value='{asked}']")
    page.click("[name=_continue]")
    page.wait_for_url("**/change/")
    app = page.url.split("/")[-3]
    staff.close()
    owner = browser.new_context(viewport=WIDE, color_scheme="light")
    page = sign_in(owner, url, "acme-owner", people["acme-owner"])
    page.goto(f"{url}/account/2fa/totp/activate/")
    if page.locator("[name=password]").count():
        page.fill("[name=password]", people["acme-owner"])
        page.press("[name=password]", "Enter")
    page.wait_for_selector(".qr")
    page.screenshot(path=OUT / "security-app.png")
    page.goto(f"{url}/tokens/")
    page.fill(".token-form [name=name]", "Monthly report")
    for scope in ("devices:read", "readings:read"):
        page.check(f"[name=scopes][value='{scope}']")
    page.click(".token-form button")
    page.wait_for_selector("#secret")
    page.screenshot(path=OUT / "tokens.png")
    owner.close()
    phone = browser.new_context(viewport=PHONE, color_scheme="dark")
    page = sign_in(phone, url, "acme-owner", people["acme-owner"])
    asks = {
        "client_id": app, "response_type": "code", "redirect_uri": "https://app.example.com/back", "state": "demo",
        "scope": "openid profile offline_access devices:read readings:read", "code_challenge_method": "S256",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    }  # fmt: skip
    page.goto(f"{url}/identity/o/authorize?{urlencode(asks)}")
    page.wait_for_selector(".decision")
    page.screenshot(path=OUT / "consent-phone-dark.png")
    phone.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "var" / "run.json", *sys.argv[2:])
