"""Audits of what lets devices in before and beside their certificates, and of devices that never came."""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import F

from devices.auditing import WARNING, Audit, Found
from devices.models import Claim, Device, DeviceToken
from devices.tenancy import ScopedQuerySet
from operations import verdicts

_CLAIM_WORDS = {
    "claim_old": "was made on {made} and admits devices until {ends}: make a new one with a short life",
    "claim_unused": "was made on {made}, and no device has joined by it",
    "claim_used_up": "has admitted all {most} devices and is still open",
}


def claims(now: datetime) -> Iterator[Found]:
    """Claims that still admit devices and should not; one that expired does no harm."""
    for row in Claim.objects.filter(revoked_at__isnull=True, expires_at__gt=now).order_by("pk").iterator():
        secret = row.kind != Claim.Kind.MAKER
        verdict = verdicts.claim(now - row.created_at, row.uses, row.max_devices, secret=secret)
        if verdict is None:
            continue
        kind, severity = verdict
        words = _CLAIM_WORDS[kind].format(
            made=f"{row.created_at:%Y-%m-%d}", ends=f"{row.expires_at:%Y-%m-%d}", most=row.max_devices
        )
        yield Found(kind, f"{row.name} {words}.", severity, subject=row.prefix)


def never_seen(now: datetime) -> Iterator[Found]:
    """Devices that enrolled and then never spoke, the oldest first."""
    rows = Device.objects.in_service().filter(
        created_at__lt=now - verdicts.NEVER_SEEN, presence__last_seen_at__isnull=True, presence__session__lt=0
    )
    for pk, joined in rows.order_by("created_at", "pk").values_list("pk", "created_at").iterator(chunk_size=2000):
        if severity := verdicts.never_seen(now - joined):
            yield Found("device_never_seen", f"It joined on {joined:%Y-%m-%d} and never spoke.", severity, pk)


def unused_tokens(now: datetime) -> Iterator[Found]:
    """Tokens nobody uses: somebody might."""
    rows = _good(now).filter(last_used_at__isnull=True, created_at__lte=now - verdicts.TOKEN_UNUSED)
    for device, prefix, made in rows.values_list("device_id", "prefix", "created_at").iterator(chunk_size=2000):
        detail = f"Token {prefix}… was made on {made:%Y-%m-%d} and never used."
        yield Found("token_unused", detail, WARNING, device, prefix)


def expiring_tokens(now: datetime) -> Iterator[Found]:
    """Tokens in use that end soon and have no successor."""
    rows = _good(now).filter(last_used_at__isnull=False, replaced_by__isnull=True)
    soon = rows.filter(expires_at__lt=now + verdicts.TOKEN_LEFT).order_by(F("expires_at"), "pk")
    for device, prefix, ends in soon.values_list("device_id", "prefix", "expires_at").iterator(chunk_size=2000):
        detail = f"Token {prefix}… ends on {ends:%Y-%m-%d} and has no successor."
        yield Found("token_expiring", detail, WARNING, device, prefix)


def _good(now: datetime) -> ScopedQuerySet[DeviceToken]:
    return DeviceToken.objects.filter(revoked_at__isnull=True, expires_at__gt=now).order_by("pk")


AUDITS = [
    Audit("claims", ("claim_old", "claim_unused", "claim_used_up"), claims),
    Audit("never-seen", ("device_never_seen",), never_seen),
    Audit("unused-tokens", ("token_unused",), unused_tokens),
    Audit("expiring-tokens", ("token_expiring",), expiring_tokens),
]
