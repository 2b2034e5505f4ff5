"""Tokens of build servers: `fpu_…`, shown once, hashed, scoped to device types."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from devices import evidence
from devices.models import DeviceType
from firmware.errors import FirmwareError
from firmware.models import UploadToken

TOKEN_PREFIX = "fpu_"  # noqa: S105 (how an upload token is recognised, by us and by secret scanners)
MAX_LIFETIME = timedelta(days=730)
KEPT_TO = timedelta(minutes=1)
"""`last_used_at` is this exact: a busy build server writes it no more often."""

_PREFIX_LENGTH = 12
_SHAPE = re.compile(TOKEN_PREFIX + r"[A-Za-z0-9_-]{43}")
_NO_HASH = "0" * 64


@sensitive_variables("text")
def make(name: str, device_types: Sequence[DeviceType], expires_at: datetime, user: Any) -> tuple[UploadToken, str]:
    """A new token and its text, which is never shown again.

    Raises `FirmwareError` (token_lifetime, token_scope: 400).
    """
    if not timedelta(0) < expires_at - timezone.now() <= MAX_LIFETIME:
        raise FirmwareError(f"A token lives at most {MAX_LIFETIME.days} days.", "token_lifetime", 400)
    if not device_types:
        raise FirmwareError("Say which device types it may upload for.", "token_scope", 400)
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        row = UploadToken.objects.create(
            name=name, prefix=text[:_PREFIX_LENGTH], token_hash=_hash(text), expires_at=expires_at, created_by=user
        )
        row.device_types.set(device_types)
        detail = _told(row) | {
            "device_types": sorted(each.slug for each in device_types),
            "expires_at": expires_at.isoformat(),
        }
        evidence.record("upload_token.made", user=user, detail=detail)
    return row, text


@sensitive_variables("text")
def of(text: str, now: datetime) -> UploadToken:
    """The good token with this text, noted as used. Raises `FirmwareError` (token_refused, 401), whatever is wrong.

    What is found costs the same as what is not: one look, one hash, one comparison in constant time.
    """
    text = text if _SHAPE.fullmatch(text) else ""
    row = UploadToken.objects.filter(prefix=text[:_PREFIX_LENGTH]).order_by().first()
    good = hmac.compare_digest(_hash(text), row.token_hash if row else _NO_HASH)
    if not good or row is None or row.revoked_at or now >= row.expires_at:
        raise FirmwareError("This token is not known, or no longer good.", "token_refused", 401)
    if row.last_used_at is None or now - row.last_used_at >= KEPT_TO:
        UploadToken.objects.filter(pk=row.pk).update(last_used_at=now)
        row.last_used_at = now
    return row


def revoke(token: UploadToken, user: Any, reason: str, now: datetime) -> bool:
    """Never let it in again. False when it was revoked already."""
    with transaction.atomic():
        changed = UploadToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=now)
        if changed:
            evidence.record("upload_token.revoked", user=user, reason=reason, detail=_told(token), at=now)
    return bool(changed)


def _told(row: UploadToken) -> dict[str, Any]:
    return {"token": row.prefix, "name": row.name}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
