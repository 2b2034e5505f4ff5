"""Holds: which device must not be offered which version, and who clears that."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models.query import QuerySet

from devices import evidence
from firmware import reporting
from firmware.models import Hold, Update
from firmware.querysets import FAILED
from firmware.states import FAILURES

PENALTY_FAILURES = 3
"""Failed updates of a device within PENALTY_DAYS that put it in the penalty box."""
PENALTY_DAYS = 30
TAKEN_BACK = reporting.TAKEN_BACK
"""Why an update is ROLLED_BACK by the portal's doing; the device did not fail."""


def after_failures(updates: Iterable[Update], now: datetime) -> None:
    """Hold what these failed updates call for: the version, where it was installed; the device, where it fails often.

    A rollback's failure holds nothing. Safe to repeat: what an operator cleared since is not held again.
    """
    pks = [row.pk for row in updates if row.state in FAILURES]
    if not pks:
        return
    failed = Update.objects.filter(FAILED, pk__in=pks, campaign__rollback_of__isnull=True)
    rows = [*_versions(failed), *_penalties(failed, now)]
    # In the same order everywhere: two who hold the same devices wait for each other and do not deadlock.
    rows.sort(key=lambda row: (row.device_id, row.kind, row.version))
    for row in rows:
        row.created_at = now
    Hold.objects.bulk_create(rows, ignore_conflicts=True)


def _versions(failed: QuerySet[Update]) -> Sequence[Hold]:
    installed = failed.filter(installing_at__isnull=False, release__isnull=False)
    found = installed.values_list("pk", "device_id", "release__version", "state", "reason_code", "ended_at")
    cleared = {
        (hold.device_id, hold.version, hold.update_id): hold.cleared_at
        for hold in Hold.objects.filter(kind=Hold.Kind.VERSION, cleared_at__isnull=False, update__in=failed)
    }
    return [
        Hold(
            device_id=device,
            kind=Hold.Kind.VERSION,
            version=version,
            update_id=pk,
            reason=f"{state.replace('_', ' ').capitalize()} on this device: {reason or 'no reason given'}."[:200],
        )
        for pk, device, version, state, reason, ended in found
        if _is_later(ended, cleared.get((device, version, pk)))
    ]


def _is_later(ended: datetime | None, cleared: datetime | None) -> bool:
    return cleared is None or (ended is not None and ended > cleared)


def _penalties(failed: QuerySet[Update], now: datetime) -> Sequence[Hold]:
    """Counted since the device last left the box, or it would be put back at once."""
    devices = set(failed.values_list("device_id", flat=True))
    boxes = Hold.objects.filter(kind=Hold.Kind.PENALTY, device__in=devices, cleared_at__isnull=False)
    freed = dict(boxes.order_by("cleared_at").values_list("device_id", "cleared_at"))  # the last one stays
    earliest = now - timedelta(days=PENALTY_DAYS)
    ends: dict[int, int] = {}
    recent = Update.objects.filter(
        FAILED, device__in=devices, campaign__rollback_of__isnull=True, ended_at__gt=earliest
    ).exclude(reason_code=TAKEN_BACK)
    for device, ended in recent.values_list("device_id", "ended_at"):
        if _is_later(ended, freed.get(device)):
            ends[device] = ends.get(device, 0) + 1
    return [
        Hold(device_id=device, kind=Hold.Kind.PENALTY, reason=f"{count} updates failed within {PENALTY_DAYS} days.")
        for device, count in ends.items()
        if count >= PENALTY_FAILURES
    ]


def clear(hold: Hold, user: Any, reason: str, now: datetime) -> bool:
    """Let the device have it again. False when somebody was first."""
    with transaction.atomic():
        changed = Hold.objects.filter(pk=hold.pk, cleared_at__isnull=True).update(
            cleared_at=now, cleared_by=user, cleared_reason=reason[:200]
        )
        if changed:
            detail = {"kind": str(hold.kind), "version": hold.version}
            evidence.record("hold.cleared", device=hold.device, user=user, reason=reason, detail=detail)
    return bool(changed)
