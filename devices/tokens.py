"""Tokens of devices that cannot do TLS client certificates: made, checked, rotated, revoked.

Several rows of a device change together under the lock of its row; a request of a busy device locks nothing. Nothing
here waits for a job: when a token is used for the first time, the end of what it replaces is written down with it.
"""

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from devices import evidence
from devices.errors import DeviceError, TokenError
from devices.models import Device, DeviceToken

TOKEN_PREFIX = "fpd_"  # noqa: S105 (how a device token is recognised, by us and by secret scanners)
LIFETIME = timedelta(days=365)
MAX_LIFETIME = timedelta(days=730)
MAX_GOOD = 5
"""Good tokens of one device; people make one less, so that a device can always rotate."""
KEPT_TO = timedelta(minutes=1)
"""`last_used_at` is this exact: a busy device writes it no more often."""

_PREFIX_LENGTH = 12
_SHAPE = re.compile(TOKEN_PREFIX + r"[A-Za-z0-9_-]{43}")
_NO_HASH = "0" * 64
_SHOWN = 20


@sensitive_variables("token")
def make(
    device: Device, now: datetime, *, lifetime: timedelta = LIFETIME, user: Any = None, reason: str = ""
) -> tuple[DeviceToken, str]:
    """Make a token. Returns its row and the token itself, which is shown once and kept nowhere.

    Raises `DeviceError`: token_lifetime (400), device_not_active (409) for a decommissioned device, token_limit (409).
    """
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise DeviceError(f"A token lives at most {MAX_LIFETIME.days} days.", "token_lifetime", 400)
    with transaction.atomic():
        device = _in_service(device.pk)
        _require_room(device, MAX_GOOD - 1, now)
        row, token = _new(device, lifetime, user, now)
        detail = {"token": row.prefix, "expires_at": row.expires_at.isoformat()}
        evidence.record("token.made", device=device, user=user, reason=reason, detail=detail)
    return row, token


@sensitive_variables("token")
def check(token: str, now: datetime) -> DeviceToken:
    """The row of a token, with its device. Raises `TokenError` (401): token_unknown, token_revoked, token_expired.

    What is found costs the same as what is not: one look, one hash, one comparison in constant time.
    """
    token = token if _SHAPE.fullmatch(token) else ""
    rows = DeviceToken.objects.filter(prefix=token[:_PREFIX_LENGTH]).order_by()
    pk, expected = next(iter(rows.values_list("pk", "token_hash")[:1]), (None, _NO_HASH))
    if not hmac.compare_digest(_hash(token), expected) or pk is None:
        raise TokenError("This token is not known.", "token_unknown")
    return _require_good(
        DeviceToken.objects.select_related("device__tenant", "device__device_type", "device__presence").get(pk=pk), now
    )


def used(row: DeviceToken, now: datetime) -> None:
    """A token that was found good is at work. The first time proves it: what it replaces ends after TOKEN_OVERLAP.

    Raises `TokenError` (token_revoked) when it was revoked in this very moment.
    """
    if row.last_used_at is None:
        _first_used(row, now)
    elif now - row.last_used_at >= KEPT_TO:
        DeviceToken.objects.filter(pk=row.pk, last_used_at__lte=now - KEPT_TO).update(last_used_at=now)


@transaction.atomic
def _first_used(row: DeviceToken, now: datetime) -> None:
    device = _locked(row.device_id)
    rows = DeviceToken.objects.filter(pk=row.pk)
    if not rows.filter(last_used_at__isnull=True, revoked_at__isnull=True).update(last_used_at=now):
        _require_good(rows.get(), now)  # another worker was first, or a rotation has withdrawn it
        return
    end = now + settings.TOKEN_OVERLAP
    replaced = DeviceToken.objects.filter(replaced_by=row, revoked_at__isnull=True, expires_at__gt=end)
    detail = {"token": row.prefix, "replaces": list(replaced.values_list("prefix", flat=True))}
    replaced.update(expires_at=end)
    evidence.record("token.first_used", device=device, actor=device.device_id, detail=detail)
    # A device that speaks is in service; one that enrols with a certificate becomes so when it enrols.
    Device.objects.filter(pk=device.pk, state=Device.State.REGISTERED).update(state=Device.State.ACTIVE)


@sensitive_variables("token")
def rotate(old: DeviceToken, now: datetime, *, user: Any = None, reason: str = "") -> tuple[DeviceToken, str]:
    """Make the successor of a token, with its lifetime. The old one stays good until the new one was used, and longer.

    An answer can get lost on its way, so this may be repeated: a successor that nobody has used is withdrawn. A device
    keeps its new token before it uses it. Without `user` it was the device that asked.
    Raises `TokenError` (401) for one no longer good, `DeviceError` (409): device_not_active, token_replaced when the
    successor is at work already, token_limit.
    """
    with transaction.atomic():
        device = _in_service(old.device_id)
        old = _require_good(DeviceToken.objects.select_related("replaced_by").get(pk=old.pk), now)
        successor = old.replaced_by
        if successor and successor.last_used_at and successor.is_good(now):
            raise DeviceError("Its successor is at work: rotate that one.", "token_replaced", 409)
        if successor and not successor.last_used_at:
            _withdraw(successor, now)
        _require_room(device, MAX_GOOD, now)
        model = successor if successor and successor.last_used_at else old  # an overlap has cut the old one short
        row, token = _new(device, model.expires_at - model.created_at, user, now)
        # What waited for a token that was never used waits for the new one.
        passed = [each.pk for each in (old, successor) if each and not each.last_used_at]
        DeviceToken.objects.filter(Q(pk=old.pk) | Q(replaced_by__in=passed)).update(replaced_by=row)
        detail = {"token": row.prefix, "replaces": old.prefix, "expires_at": row.expires_at.isoformat()}
        actor = "portal" if user else device.device_id
        evidence.record("token.rotated", device=device, user=user, actor=actor, reason=reason, detail=detail)
    return row, token


def revoke(row: DeviceToken, reason: str, user: Any, now: datetime) -> bool:
    """End a token at once. False when it had been revoked before."""
    with transaction.atomic():
        changed = DeviceToken.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=now, reason=reason)
        if changed:
            detail = {"token": row.prefix}
            evidence.record("token.revoked", device=row.device, user=user, reason=reason, detail=detail)
    return bool(changed)


def state_of(row: DeviceToken, now: datetime) -> tuple[str, str]:
    """How a token stands, as a badge's colour and word; one more query where `replaced_by` was not fetched."""
    if row.revoked_at:
        return "revoked", "Revoked"
    if not row.is_good(now):
        return "expired", "Expired"
    if row.replaced_by and row.replaced_by.is_good(now):
        return "retiring", "Being replaced"
    return ("active", "Active") if row.last_used_at else ("pending", "Never used")


def newest(device: Device, now: datetime) -> list[tuple[DeviceToken, str, str]]:
    """The newest tokens of a device, each with how it stands."""
    rows = device.tokens.select_related("replaced_by", "created_by")[:_SHOWN]
    return [(row, *state_of(row, now)) for row in rows]


@sensitive_variables("token")
def _new(device: Device, lifetime: timedelta, user: Any, now: datetime) -> tuple[DeviceToken, str]:
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    row = DeviceToken.objects.create(
        device=device,
        prefix=token[:_PREFIX_LENGTH],
        token_hash=_hash(token),
        created_at=now,
        expires_at=now + lifetime,
        created_by=user,
    )
    return row, token


def _locked(device_pk: int) -> Device:
    """The device, its row locked: decommissioning waits, or has revoked its tokens. References to it do not wait."""
    return Device.objects.select_for_update(of=("self",), no_key=True).select_related("tenant").get(pk=device_pk)


def _in_service(device_pk: int) -> Device:
    device = _locked(device_pk)
    if device.state == Device.State.DECOMMISSIONED:
        raise DeviceError("This device was decommissioned.", "device_not_active", 409)
    return device


def _require_good(row: DeviceToken, now: datetime) -> DeviceToken:
    if row.revoked_at:
        raise TokenError("This token was revoked.", "token_revoked")
    if not row.is_good(now):
        raise TokenError("This token has expired.", "token_expired")
    return row


def _require_room(device: Device, limit: int, now: datetime) -> None:
    if device.tokens.filter(revoked_at__isnull=True, expires_at__gt=now).count() >= limit:
        raise DeviceError("This device has too many tokens: revoke one first.", "token_limit", 409)


def _withdraw(successor: DeviceToken, now: datetime) -> None:
    rows = DeviceToken.objects.filter(pk=successor.pk, revoked_at__isnull=True)
    rows.update(revoked_at=now, reason="Replaced before it was used")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
