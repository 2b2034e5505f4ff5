"""Programs that act for people: API tokens, and an app that asks to be let in."""

from urllib.parse import urlencode

from tests.screens.camera import Camera, Story

BACK = "https://app.example.com/back"


def programs(camera: Camera) -> None:
    """Staff register an app; an owner makes a token, and is asked by the app."""
    page = camera.open("admin-app", "admin", "/admin/allauth_idp_oidc/client/add/")
    page.fill("[name=name]", "Cold Watch")
    page.select_option("[name=type]", "public")
    page.fill("[name=redirect_uris]", BACK)
    for asked in ("profile", "offline_access", "devices:read", "readings:read"):
        page.check(f"[name=asks][value='{asked}']")
    page.click("[name=_continue]")
    page.wait_for_url("**/change/")
    app = page.url.split("/")[-3]
    camera.go(page, f"/admin/allauth_idp_oidc/client/{app}/change/")
    camera.take("admin-app", page)
    page.context.close()
    page = camera.open("tokens", "acme-owner", "/tokens/")
    page.fill(".token-form [name=name]", "Monthly report")
    for scope in ("devices:read", "readings:read"):
        page.check(f"[name=scopes][value='{scope}']")
    page.click(".token-form button")
    page.wait_for_selector("#secret")
    camera.take("token-made", page)
    page.context.close()
    asks = {
        "client_id": app, "response_type": "code", "redirect_uri": BACK, "state": "demo",
        "scope": "openid profile offline_access devices:read readings:read", "code_challenge_method": "S256",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    }  # fmt: skip
    for name in ("consent", "consent-phone-dark"):
        page = camera.open(name, "acme-owner", f"/identity/o/authorize?{urlencode(asks)}")
        page.wait_for_selector(".decision")
        camera.take(name, page)
        page.context.close()
    page = camera.open("consent-mistake", "acme-owner", "/identity/o/authorize?client_id=nobody&response_type=code")
    page.errors.clear()  # the browser notes the 400 itself
    camera.take("consent-mistake", page)
    page.context.close()
    for name in ("tokens", "tokens-phone-dark"):
        page = camera.open(name, "acme-owner", "/tokens/")
        camera.take(name, page)
        page.context.close()


APPS = Story(
    "Apps and tokens",
    {
        "admin-app": "Staff register an app, and what it may ask for",
        "token-made": "A new API token, shown once",
        "tokens": "API tokens, and what each may do",
        "tokens-phone-dark": "API tokens on a phone",
        "consent": "An app asks to be let in",
        "consent-phone-dark": "An app asks on a phone",
        "consent-mistake": "An app that nobody registered",
    },
    programs,
)
