"""The keys that a factory builds into devices, at both doors and for everybody."""

import hashlib
from typing import Any

from django.core.cache import cache
from django.http.response import HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from redis import RedisError
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from devices.throttles import Throttle
from firmware import permits, trust
from firmware.api import described

KEPT_SECONDS = 30
"""How old an answer may be: to open the permit key takes tens of milliseconds of somebody's processor."""
_KEY = "firmware:keys"


class KeysView(APIView):
    """`GET /api/v1/firmware/keys`, for everybody: what a factory builds into devices.

    `{"firmware_keys": [PEM…], "permit_key": PEM, "keys": [{name, algorithm, fingerprint, device_types, not_after}…]}`;
    `device_types` empty: for all. Keys that were revoked or have expired are left out, within half a minute.
    Problem details: 503 ca_key_unavailable while the permit key is not at hand, 429 throttled.
    """

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (Throttle,)
    throttle_scope = "keys"

    @described.KEYS
    def get(self, request: Request) -> HttpResponseBase:
        """The keys, or 304."""
        text = _kept()
        etag = quote_etag(hashlib.sha256(text).hexdigest())
        headers = {"Cache-Control": "public, max-age=300", "ETag": etag}
        full = HttpResponse(text, content_type="application/json", headers=headers)
        return get_conditional_response(request._request, etag, None, full) or full


def _kept() -> bytes:
    try:
        found: bytes | None = cache.get(_KEY)
        if found is None:
            found = _told()
            cache.set(_KEY, found, KEPT_SECONDS)
    except RedisError:
        return _told()
    return found


def _told() -> bytes:
    known = trust.valid_keys(timezone.now())
    body: dict[str, Any] = {
        "firmware_keys": [key.public_key for key in known],
        "permit_key": permits.public_key(make=False),
        "keys": [
            {
                "name": key.name,
                "algorithm": key.algorithm,
                "fingerprint": key.fingerprint,
                "device_types": sorted(each.slug for each in key.device_types.all()),
                "not_after": key.not_after,
            }
            for key in known
        ],
    }
    return JSONRenderer().render(body)
