"""The rules of the OpenID provider: one grant with PKCE, refresh tokens that are exchanged once, tokens as JWT.

oauthlib speaks the protocol and django-allauth keeps clients, codes and tokens; here is what we ask beyond both.
"""

import re
import secrets
import uuid
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from allauth.idp.oidc.adapter import get_adapter
from allauth.idp.oidc.internal.oauthlib import authorization_codes
from allauth.idp.oidc.internal.oauthlib.request_validator import OAuthLibRequestValidator
from allauth.idp.oidc.internal.oauthlib.utils import get_validator_context
from allauth.idp.oidc.models import Client, Token
from django.contrib.auth import get_user_model
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749 import errors
from oauthlib.openid import Server

from devices.people import families, signing_keys
from fleetportal.accounts.oidc import OFFLINE

ACCESS_LIFETIME: Final = timedelta(minutes=10)
REFRESH_LIFETIME: Final = timedelta(days=30)
ID_LIFETIME: Final = timedelta(minutes=10)
ACCESS_KIND: Final = "at+jwt"
"""`typ` of access tokens (RFC 9068): nothing else we sign passes for one."""
GRANTS: Final = frozenset({Client.GrantType.AUTHORIZATION_CODE.value, Client.GrantType.REFRESH_TOKEN.value})
_STAMP: Final = "password_stamp"
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_LOOPBACK = ("127.0.0.1", "::1")


def get_server() -> Server:
    """The protocol, with our rules. One for each request."""
    return Server(
        request_validator=Rules(),
        token_expires_in=int(ACCESS_LIFETIME.total_seconds()),
        token_generator=_access_token,
        refresh_token_generator=lambda _: secrets.token_urlsafe(48),
    )


def is_same(told: str, registered: str) -> bool:
    """Is this the redirect URI? To the letter; an app on somebody's own machine takes any free port (RFC 8252, 7.3)."""
    if told == registered:
        return True
    try:
        ours, theirs = urlsplit(registered), urlsplit(told)
        if ours.scheme != "http" or ours.hostname not in _LOOPBACK or theirs.port is None:
            return False
        host = f"[{ours.hostname}]" if ":" in str(ours.hostname) else ours.hostname
        return theirs == ours._replace(netloc=f"{host}:{theirs.port}")
    except ValueError:
        return False


class Rules(OAuthLibRequestValidator):
    """What is asked beyond the protocol."""

    def validate_redirect_uri(self, client_id: str, redirect_uri: str, request: Request, *_: Any, **__: Any) -> bool:
        """Registered, to the letter."""
        return any(is_same(redirect_uri, each) for each in request.client.get_redirect_uris())

    def validate_response_type(
        self, client_id: str, response_type: str, client: Client, request: Request, *_: Any, **__: Any
    ) -> bool:
        """A code and nothing else, with a proof that only S256 can make (RFC 7636)."""
        if response_type != Client.ResponseType.CODE:
            return False
        if not request.code_challenge:
            raise errors.MissingCodeChallengeError(request=request)
        if request.code_challenge_method != "S256":
            raise errors.UnsupportedCodeChallengeMethodError(request=request)
        if not _CHALLENGE.fullmatch(request.code_challenge):
            raise errors.InvalidRequestError("The code challenge is no SHA-256.", request=request)
        return True

    def is_pkce_required(self, client_id: str, request: Request) -> bool:
        """Of every client, whether it has a secret or not."""
        return True

    def validate_grant_type(
        self, client_id: str, grant_type: str, client: Client, request: Request, *_: Any, **__: Any
    ) -> bool:
        """The code and what came of it."""
        return grant_type in GRANTS and grant_type in request.client.get_grant_types()

    def save_authorization_code(
        self, client_id: str, code: dict[str, Any], request: Request, *_: Any, **__: Any
    ) -> None:
        """With what changes when the person's password does."""
        super().save_authorization_code(client_id, {**code, _STAMP: request.user.get_session_auth_hash()}, request)

    def validate_code(self, client_id: str, code: str, client: Client, request: Request, *_: Any, **__: Any) -> bool:
        """Good, and never exchanged: who comes a second time ends what the first one got."""
        family = families.redeem(code, timezone.now())
        _remember(request, family=family)
        if family is None or not super().validate_code(client_id, code, client, request):
            return False
        # Whoever sets a new password holds this row until all that the old one gave is ended: before or after us.
        request.user = get_user_model().objects.select_for_update(no_key=True).get(pk=request.user.pk)
        granted = (authorization_codes.lookup(client_id, code) or {}).get("code", {}).get(_STAMP, "")
        return constant_time_compare(granted, request.user.get_session_auth_hash())

    def validate_refresh_token(self, refresh_token: str, client: Client, request: Request, *_: Any, **__: Any) -> bool:
        """Good, never exchanged, and of a person who is still in service."""
        found = families.exchange(refresh_token, client, timezone.now())
        if found is None or found.row.user is None or not found.row.user.is_active:
            return False
        _remember(request, exchange=found)
        request.user = found.row.user
        get_validator_context().refresh_token = found.row
        return True

    def save_bearer_token(self, token: dict[str, Any], request: Request, *_: Any, **__: Any) -> None:
        """Keep the pair, as hashes; spend what it was exchanged for. Called once, when all was found good."""
        now, told = timezone.now(), _remembered(request)
        going: families.Exchange | None = told.get("exchange")
        family: uuid.UUID = going.family if going else told["family"]
        since = now.isoformat()
        scopes = list(request.scopes)
        if going:
            families.withdraw(going, now)
            since = (going.row.data or {}).get("since", since)
            scopes = going.row.get_scopes()  # a narrower access token leaves the refresh token as it is
        else:
            families.spend(families.digest(request.code), family, request.user, now)
        data = {"family": str(family), "since": since}
        rows = []
        if OFFLINE in scopes:
            rows.append(_row(Token.Type.REFRESH_TOKEN, token["refresh_token"], request, now + REFRESH_LIFETIME))
            rows[0].data = data | {"after": going.brought if going else ""}
            rows[0].set_scopes(scopes)
            token["refresh_expires_in"] = int(REFRESH_LIFETIME.total_seconds())
        else:
            token.pop("refresh_token", None)
        access = _row(Token.Type.ACCESS_TOKEN, token["access_token"], request, now + ACCESS_LIFETIME)
        access.data = data | {"beside": rows[0].hash if rows else ""}
        access.set_scopes(list(request.scopes))
        Token.objects.bulk_create([*rows, access])

    def finalize_id_token(self, id_token: dict[str, Any], token: dict[str, Any], handler: Any, request: Request) -> str:
        """Signed by the key whose time it is."""
        told = get_adapter().get_claims("id_token", request.user, request.client, request.scopes)
        life = {"iss": signing_keys.issuer(), "exp": id_token["iat"] + int(ID_LIFETIME.total_seconds())}
        return signing_keys.sign({**id_token, **life, "jti": uuid.uuid4().hex, **told}, "JWT", timezone.now())

    def revoke_token(self, token: str, token_type_hint: str, request: Request, *_: Any, **__: Any) -> None:
        """A client gives a token back: with it goes its family. Whatever else it brings is none of its business."""
        digest = families.digest(token)
        kinds = [Token.Type.ACCESS_TOKEN, Token.Type.REFRESH_TOKEN]
        row = Token.objects.filter(hash=digest, type__in=kinds, client=request.client).select_related("user").first()
        family = families.family_of(row)
        if row is not None and row.user is not None and family is not None:
            families.end(family, row.user, "Given back by the app")

    def validate_silent_login(self, request: Request) -> bool:
        """An app asks its person, or refreshes: nothing is granted unseen."""
        return False

    def validate_silent_authorization(self, request: Request) -> bool:
        """As above."""
        return False

    def validate_user_match(self, id_token_hint: str, scopes: Any, claims: Any, request: Request) -> bool:
        """A hint about who should sign in is no more than that: who signs in sees their own name and agrees, or not."""
        return True

    def validate_jwt_bearer_token(self, token: str, scopes: Any, request: Request) -> bool:
        """An access token is looked up; nothing else that is signed lets anybody in."""
        return bool(self.validate_bearer_token(token, scopes, request))


def _row(kind: Token.Type, value: str, request: Request, expires_at: Any) -> Token:
    return Token(
        client=request.client, user=request.user, type=kind, hash=families.digest(value), expires_at=expires_at
    )


def _access_token(request: Request) -> str:
    """As RFC 9068 has it: whoever verifies it by JWKS learns whose it is, what for and for how long."""
    now = timezone.now()
    claims = {
        "iss": signing_keys.issuer(),
        "aud": signing_keys.issuer(),
        "sub": get_adapter().get_user_sub(request.client, request.user),
        "client_id": request.client.id,
        "scope": " ".join(request.scopes),
        "iat": int(now.timestamp()),
        "exp": int((now + ACCESS_LIFETIME).timestamp()),
        "jti": uuid.uuid4().hex,
    }
    return signing_keys.sign(claims, ACCESS_KIND, now)


def _remember(request: Request, **told: Any) -> None:
    """Between steps of one request; not as an attribute, as those are parameters of the caller, too."""
    _remembered(request).update(told)


def _remembered(request: Request) -> dict[str, Any]:
    told: dict[str, Any] = request.__dict__.setdefault("_fleetportal", {})
    return told
