"""Who calls the API with `Authorization: Bearer`: an API token (`fpa_…`), or an access token of the OpenID provider.

It is first of the authentications, so an anonymous call is asked for a token (401). What is looked up counts, not what
a token says of itself: a token that was revoked, whose family has ended or whose person is gone is refused at once,
however good its signature. No CSRF token is asked for, as no browser sends this header by itself.
"""

from datetime import datetime
from typing import Any, Final

from allauth.idp.oidc.models import Token
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from devices.errors import TokenError
from devices.people import access, api_tokens, families, scopes, signing_keys
from fleetportal.accounts import attempts
from fleetportal.accounts.oidc_server import ACCESS_KIND

REALM: Final = 'Bearer realm="api"'


class BearerAuthentication(BaseAuthentication):
    """Puts the person into `request.user` and an `access.Credential` into `request.auth`.

    Refusals (401): token_unknown, token_expired, token_revoked. Who tries many unknown ones from an address: 429.

    A token is judged first: guesses of one must not keep the good ones of an office out, and nobody guesses 256 bits.
    """

    @sensitive_variables("value")
    def authenticate(self, request: Request) -> tuple[Any, access.Credential] | None:
        """None where no bearer token was sent: a session may tell who it is."""
        value = _sent(request)
        if value is None:
            return None
        try:
            return _judged(value, timezone.now())
        except TokenError as error:
            if error.code == "token_unknown":
                wait = attempts.wait(request, "bearer")
                if wait:
                    raise Throttled(wait) from error
                attempts.failed(request, "bearer")
            raise AuthenticationFailed(error.detail, error.code) from error

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for (RFC 6750, 3)."""
        return REALM if _sent(request) is None else f'{REALM}, error="invalid_token"'


@sensitive_variables("value")
def _sent(request: Request) -> str | None:
    scheme, _, value = request.headers.get("Authorization", "").strip().partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


@sensitive_variables("value")
def _judged(value: str, now: datetime) -> tuple[Any, access.Credential]:
    if not value.startswith(api_tokens.PREFIX):
        return _app(value, now)
    good = api_tokens.check(value, now)
    api_tokens.used(good.row, now)
    user = access.confine(good.row.user, good.row.tenant_id)
    return user, access.Credential("token", good.row.prefix, good.scopes, good.row.tenant_id)


@sensitive_variables("value")
def _app(value: str, now: datetime) -> tuple[Any, access.Credential]:
    """An access token. Whose row is there is signed by us, as its hash is that of the whole."""
    rows = Token.objects.filter(type=Token.Type.ACCESS_TOKEN, hash=families.digest(value))
    row = rows.select_related("user", "client").first()
    if row is None:
        raise TokenError(*_why(value, now))
    if row.expires_at is None or row.expires_at <= now:
        raise TokenError("This token has expired.", "token_expired")
    if row.user is None or row.client is None or not row.user.is_active or not families.used(row):
        raise TokenError("Whose token this is, is no longer here.", "token_revoked")
    return row.user, access.Credential("app", row.client_id, scopes.known(row.get_scopes()))


@sensitive_variables("value")
def _why(value: str, now: datetime) -> tuple[str, str]:
    """What to say of an access token that is not there: was it ever ours?"""
    if value.count(".") != 2:
        return "This token is not known.", "token_unknown"
    try:
        signing_keys.read(value, ACCESS_KIND, now, audience=signing_keys.issuer())
    except signing_keys.Refused as error:
        if error.expired:
            return "This token has expired.", "token_expired"
        return "This token is not known.", "token_unknown"
    except ImproperlyConfigured:  # without PORTAL_URL none was ever made
        return "This token is not known.", "token_unknown"
    return "This token was revoked.", "token_revoked"
