"""Access tokens of devices: a JWT for ten minutes, for code on a device that should not hold its certificate's key.

A device gets one with its certificate or its device token, and the JWT is no better than that: whoever ends the
certificate, the token or the device ends it at once, as the rows are looked at each time it is brought.
"""

import uuid
from datetime import datetime, timedelta
from typing import Final

from django.core.exceptions import ImproperlyConfigured
from django.views.decorators.debug import sensitive_variables

from devices.errors import TokenError
from devices.models import Certificate, Device, DeviceToken
from devices.people import signing_keys

LIFETIME: Final = timedelta(minutes=10)
KIND: Final = "device+jwt"
"""`typ` of these tokens: what the same keys sign for apps is none."""
_ENDED = (Certificate.State.REVOKED, Certificate.State.RETIRED, Certificate.State.EXPIRED)


def make(device: Device, by: Certificate | DeviceToken, now: datetime) -> str:
    """A token of this device, good as long as what it came by is."""
    claims = {
        "iss": signing_keys.issuer(),
        "aud": signing_keys.issuer(),
        "sub": device.device_id,
        "iat": int(now.timestamp()),
        "exp": int((now + LIFETIME).timestamp()),
        "jti": uuid.uuid4().hex,
        "by": {"certificate" if isinstance(by, Certificate) else "token": by.pk},
    }
    return signing_keys.sign(claims, KIND, now)


@sensitive_variables("token")
def check(token: str, now: datetime) -> Device:
    """Whose it is. Raises `TokenError` (401): token_unknown, token_expired, token_revoked."""
    try:
        told = signing_keys.read(token, KIND, now, audience=signing_keys.issuer())
    except signing_keys.Refused as error:
        raise TokenError(str(error), "token_expired" if error.expired else "token_unknown") from error
    except ImproperlyConfigured as error:  # without PORTAL_URL none was ever made
        raise TokenError("This token is not known.", "token_unknown") from error
    device = _holder(told.get("by"), now)
    if device is None or device.device_id != told["sub"]:
        raise TokenError("What this token came by is no longer good.", "token_revoked")
    return device


def looks_like_one(token: str) -> bool:
    """A JWT, and no token of ours that is looked up."""
    return token.count(".") == 2


def _holder(by: object, now: datetime) -> Device | None:
    if not isinstance(by, dict):
        return None
    related = ("device__tenant", "device__device_type", "device__presence")
    if isinstance(by.get("certificate"), int):
        rows = Certificate.objects.filter(pk=by["certificate"], revoked_at__isnull=True, not_after__gt=now)
        certificate = rows.exclude(state__in=_ENDED).select_related(*related).first()
        return certificate.device if certificate else None
    if isinstance(by.get("token"), int):
        held = DeviceToken.objects.filter(pk=by["token"]).select_related(*related).first()
        return held.device if held and held.is_good(now) else None
    return None
