"""Which device speaks at an HTTPS door: told by its token, a JWT, or its client certificate. And how often it may."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import Error
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from redis import RedisError
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from devices import access_tokens, callers, tokens
from devices.errors import DeviceError, TokenError
from devices.models import Certificate, Device, DeviceToken
from devices.problems import problem

RETRY_SECONDS = 10
"""When to come again after the database was away."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A device whose credential is good, and which may speak."""

    device: Device
    """With `tenant` and `device_type` at hand."""
    token: DeviceToken | None
    """The row of its token; None where a certificate or a JWT told who it is."""
    certificate: Certificate | None = None
    """The row of its certificate, where that told. None of both: a JWT, which gets nobody another credential."""


def speaker_of(request: Request) -> Speaker:
    """Who speaks, at a door that has let it in."""
    speaker: Any = request.auth
    if not isinstance(speaker, Speaker):
        raise TypeError("this door did not ask for a credential")
    return speaker


class DeviceAuthentication(BaseAuthentication):
    """Puts a `Speaker` into `request.auth`. Who sends a token is judged by it, whatever its certificate says.

    Refusals: credential_missing, token_unknown, token_expired, token_revoked, and those of `callers.identify`;
    quarantined, decommissioned (403).
    """

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Speaker]:
        """Nobody is let in without a credential. Raises `DomainError`."""
        now = timezone.now()
        speaker = _by_token(request, now) or _by_certificate(request, now)
        if speaker is None:
            text = "Send a device's token (Authorization: Bearer <token>) or its client certificate."
            raise TokenError(text, "credential_missing")
        if speaker.device.state in (Device.State.QUARANTINED, Device.State.DECOMMISSIONED):
            code = str(speaker.device.state)
            raise DeviceError(f"This device is {code}.", code, 403)
        return AnonymousUser(), speaker


@sensitive_variables("authorization", "token")
def _by_token(request: Request, now: datetime) -> Speaker | None:
    """Names of variables that hold the secret are those that error reports leave out."""
    authorization = request.headers.get("Authorization")
    if authorization is None:
        return None
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    callers.refuse_forged(request)
    token = token.strip()
    if access_tokens.looks_like_one(token):
        return Speaker(access_tokens.check(token, now), None)
    row = tokens.check(token, now)
    tokens.used(row, now)
    return Speaker(row.device, row)


def _by_certificate(request: Request, now: datetime) -> Speaker | None:
    caller = callers.identify(request, now)
    if not isinstance(caller, callers.DeviceCaller):
        return None
    return Speaker(caller.certificate.device, None, caller.certificate)


class PerDevice(ScopedRateThrottle):
    """So many requests of one device, by the view's `throttle_scope`. While Valkey is away all are let through."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Within the rate?"""
        try:
            return super().allow_request(request, view)
        except RedisError:
            return True

    def get_cache_key(self, request: Request, view: APIView) -> str:
        """One count for each device, whatever credential it uses."""
        return f"throttle:{self.scope}:{speaker_of(request).device.pk}"


class DeviceView(APIView):
    """Base of what devices ask by a token or certificate of their own."""

    authentication_classes = (DeviceAuthentication,)
    permission_classes = (AllowAny,)  # whoever is a device may; what it may do is its own
    throttle_classes = (PerDevice,)

    def handle_exception(self, exc: Exception) -> Response:
        """A database that is away is no fault of the device: it keeps what it has and comes again."""
        if isinstance(exc, Error):
            answer = problem(503, "try_again", "This cannot be stored now. Come again.")
            answer["Retry-After"] = str(RETRY_SECONDS)
            return answer
        return super().handle_exception(exc)

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """What a refused device is asked for stands in the head, as HTTP wants it; no answer is kept by a proxy."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        if response.status_code == 401:
            response["WWW-Authenticate"] = 'Bearer realm="devices"'
        return response
