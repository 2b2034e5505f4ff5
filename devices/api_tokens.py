"""The HTTP door where a device gets its next token with the one it has."""

from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables
from rest_framework.request import Request
from rest_framework.response import Response

from devices import tokens
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

    @method_decorator(sensitive_variables("token"))
    def post(self, request: Request) -> Response:
        """Rotate."""
        current = speaker_of(request).token
        if current is None:
            raise TokenError("A certificate needs no token; send the token to replace.", "credential_missing")
        row, token = tokens.rotate(current, timezone.now())
        return Response({"token": token, "expires_at": row.expires_at}, status=201)
