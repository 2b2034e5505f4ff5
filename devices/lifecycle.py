"""The life of a device: quarantined, released, decommissioned. Each is a conditional update with its evidence.

The door then has the device shut out or let in again (tasks.py): files first, then the live session.
"""

from datetime import datetime
from typing import Any

from django.db import transaction

from devices import certificates, evidence
from devices.models import Device


def quarantine(device: Device, reason: str, user: Any) -> bool:
    """Leave a suspect device only `status` and `cmd`. False when it was not active."""
    return _move(device, [Device.State.ACTIVE], Device.State.QUARANTINED, "device.quarantined", reason, user)


def release(device: Device, reason: str, user: Any) -> bool:
    """End a quarantine. False when there was none."""
    return _move(device, [Device.State.QUARANTINED], Device.State.ACTIVE, "device.released", reason, user)


def decommission(device: Device, reason: str, user: Any, now: datetime) -> bool:
    """End a device's life for good and revoke what it holds; its evidence stays. False when it had ended before."""
    alive = [Device.State.REGISTERED, Device.State.ACTIVE, Device.State.QUARANTINED]
    with transaction.atomic():
        if not _move(device, alive, Device.State.DECOMMISSIONED, "device.decommissioned", reason, user):
            return False
        for certificate in device.certificates.filter(revoked_at__isnull=True, not_after__gt=now):
            certificates.revoke(certificate, reason, user, now)
    return True


def _move(device: Device, before: list[Device.State], after: Device.State, kind: str, reason: str, user: Any) -> bool:
    with transaction.atomic():
        changed = Device.objects.filter(pk=device.pk, state__in=before).update(state=after)
        if changed:
            evidence.record(kind, device=device, user=user, reason=reason)
    return bool(changed)
