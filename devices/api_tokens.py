"""The HTTP doors where a device gets its next token, or a JWT for ten minutes, with what it has."""

from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables
from rest_framework.request import Request
from rest_framework.response import Response

from devices import access_tokens, described, tokens
from devices.authentication import DeviceView, speaker_of
from devices.errors import TokenError


class TokenView(DeviceView):
    """`POST /api/v1/devices/token` with the current token (`Authorization: Bearer fpd_…`): 201 {token, expires_at}.

    The current token stays good until the new one was used, and for an overlap after that. When the answer is lost,
    ask again with the current one: the new token nobody has used is withdrawn. Keep the new token before using it.
    Refusals are problem details whose `error_code` is one of credential_missing, token_unknown, token_expired,
    token_revoked (401), quarantined (403), token_replaced, token_limit, device_not_active (409), throttled (429),
    try_again (503).
    """

    parser_classes = ()
    throttle_scope = "token"

    @described.TOKEN
    @method_decorator(sensitive_variables("token"))
    def post(self, request: Request) -> Response:
        """Rotate."""
        current = speaker_of(request).token
        if current is None:
            raise TokenError("A certificate needs no token; send the token to replace.", "credential_missing")
        row, token = tokens.rotate(current, timezone.now())
        return Response({"token": token, "expires_at": row.expires_at}, status=201)


class AccessTokenView(DeviceView):
    """`POST /api/v1/devices/access-token` with a client certificate or device token: 201 {access_token, …}.

    The answer is that of OAuth 2 (`access_token`, `token_type`, `expires_in`): a JWT for ten minutes, taken as
    `Authorization: Bearer` wherever a device token is, but here and at `devices/token`. Refusals: credential_missing,
    those of `DeviceAuthentication` (401, 403), throttled (429), try_again (503).
    """

    parser_classes = ()
    throttle_scope = "access-token"

    @described.ACCESS_TOKEN
    @method_decorator(sensitive_variables("token"))
    def post(self, request: Request) -> Response:
        """Make one."""
        speaker = speaker_of(request)
        by = speaker.certificate or speaker.token
        if by is None:
            text = "Send the client certificate or device token: this token gets no other."
            raise TokenError(text, "credential_missing")
        token = access_tokens.make(speaker.device, by, timezone.now())
        life = int(access_tokens.LIFETIME.total_seconds())
        return Response({"access_token": token, "token_type": "Bearer", "expires_in": life}, status=201)
