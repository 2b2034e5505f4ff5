"""An app of another house: Authlib speaks OpenID Connect to the portal, and a person agrees."""

import re
from urllib.parse import parse_qs, urlsplit

import httpx
from allauth.idp.oidc.models import Client as App
from authlib.common.security import generate_token
from authlib.integrations.httpx_client import OAuth2Client
from django.conf import settings
from django.test import Client
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import KeySet

from devices.models import SigningKey
from devices.people import signing_keys

BACK = "https://app.example/back"
SCOPES = "openid profile email offline_access devices:read readings:read"
SECRET = "a secret that nobody guesses"


def register(kind="public", scopes=SCOPES, **changes) -> App:
    """An app as staff register it."""
    told = {"name": "Cold Watch", "type": kind, "redirect_uris": BACK, "scopes": "\n".join(scopes.split())}
    app = App(grant_types="authorization_code\nrefresh_token", response_types="code", **(told | changes))
    app.set_secret(SECRET)
    app.save()
    return app


def answer_of(location: str) -> dict[str, str]:
    """What an app is told at its address."""
    assert location.startswith(BACK + "?"), location
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


class Here(httpx.BaseTransport):
    """Requests of httpx, answered in this thread and in the test's transaction."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        kind = headers.pop("content-type", "application/octet-stream")
        client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        path = request.url.raw_path.decode()
        got = client.generic(request.method, path, request.read(), content_type=kind, headers=headers)
        told = [(name, value) for name, value in got.headers.items() if name != "Content-Length"]
        told += [("Set-Cookie", each.OutputString()) for each in got.cookies.values()]
        return httpx.Response(got.status_code, headers=told, content=got.content)


class Portal:
    """Where the portal is: on a port, or in this very thread, where a test's rows are gone after it."""

    def __init__(self, url: str = "http://localhost", *, runs: bool = False):
        self.url = url
        self.ways = {} if runs else {"transport": Here()}
        self.http = httpx.Client(base_url=url, **self.ways)
        lend_key()

    def person(self, user) -> "Visit":
        return Visit(self, user)

    def app(self, row: App | None = None, scope: str = SCOPES) -> "Outsider":
        return Outsider(self, row or register(), scope)


def lend_key() -> None:
    """A key that was made before: making one takes longer than a test."""
    if not _LENT:
        signing_keys.public(timezone.now())
        _LENT.append(SigningKey.objects.get())
    elif not SigningKey.objects.exists():
        SigningKey.objects.bulk_create(_LENT)


_LENT: list[SigningKey] = []


class Visit:
    """A person's browser, signed in."""

    def __init__(self, portal: Portal, user):
        django = Client()
        django.force_login(user)
        cookies = {settings.SESSION_COOKIE_NAME: django.cookies[settings.SESSION_COOKIE_NAME].value}
        self.http = httpx.Client(base_url=portal.url, cookies=cookies, **portal.ways)

    def decide(self, address: str, decision: str = "allow") -> httpx.Response:
        """Open the page, read it, press a button."""
        page = self.http.get(address)
        assert page.status_code == 200, page.text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
        return self.http.post(address, data={"csrfmiddlewaretoken": token, "decision": decision})


class Outsider:
    """The app: Authlib, with what it discovers of the portal."""

    def __init__(self, portal: Portal, app: App, scope: str = SCOPES):
        self.portal, self.url, self.http, self.app = portal, portal.url, portal.http, app
        self.told = self.http.get("/.well-known/openid-configuration").json()
        public = app.type == "public"
        self.oauth = OAuth2Client(
            app.pk,
            None if public else SECRET,
            **portal.ways,
            scope=scope,
            redirect_uri=BACK,
            code_challenge_method="S256",
            token_endpoint_auth_method="none" if public else "client_secret_basic",
        )
        self.verifier = generate_token(48)

    def address(self, **changes) -> str:
        """Where it sends its person."""
        told = {"nonce": "n-1", "code_verifier": self.verifier} | changes
        address, self.state = self.oauth.create_authorization_url(self.told["authorization_endpoint"], **told)
        return address

    def exchange(self, location: str, **changes) -> dict:
        """The code for tokens. Raises Authlib's OAuthError."""
        told = {"code_verifier": self.verifier} | changes
        return self.oauth.fetch_token(
            self.told["token_endpoint"], authorization_response=location, state=self.state, **told
        )

    def sign_in(self, visit: Visit) -> dict:
        """All of it."""
        answer = visit.decide(self.address())
        assert answer.status_code == 302, answer.text
        return self.exchange(answer.headers["Location"])

    def refresh(self, token: str) -> dict:
        """The next tokens. Raises Authlib's OAuthError."""
        return self.oauth.refresh_token(self.told["token_endpoint"], refresh_token=token)

    def revoke(self, token: str) -> int:
        return self.oauth.revoke_token(self.told["revocation_endpoint"], token=token).status_code

    def claims(self, token: str) -> dict:
        """Of a token, verified by JWKS as anybody can."""
        keys = KeySet.import_key_set(self.http.get(self.told["jwks_uri"]).json())
        return jwt.decode(token, keys, algorithms=["RS256"]).claims

    def api(self, token: str, path: str = "/api/v1/devices") -> httpx.Response:
        return self.http.get(path, headers={"Authorization": f"Bearer {token}"})

    def userinfo(self, token: str) -> httpx.Response:
        return self.api(token, self.told["userinfo_endpoint"])
