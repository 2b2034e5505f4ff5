"""Background work of this room: fetch, one call, retry policy."""

from datetime import datetime, timedelta
from typing import Any

from celery import shared_task
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from devices import broker, certificates, cutoffs, listening, nudges, outgoing, presence, renewals, watching
from devices.models import Event
from devices.people import repeats

CUT_AGAIN_SECONDS = (2, 5)
"""The embedded broker reads new files within 0.2 s; the container's watcher tells its broker up to 2.1 s later."""
OVERDUE = timedelta(seconds=20)
"""A decision this old should have been carried out; a younger one is its own task's business."""
OVERDUE_AT_ONCE = 2000
_AT_ALL_COSTS: dict[str, Any] = {
    "autoretry_for": (OSError, OperationalError, InterfaceError),
    "retry_backoff": 1,  # 1, 2, 4 … 30 s: ten tries in three minutes, shorter than the queue's visibility timeout
    "retry_backoff_max": 30,
    "retry_jitter": False,
    "max_retries": 10,
}


@shared_task(name="devices.tasks.mark_silent_devices")
def mark_silent_devices() -> int:
    """Mark devices offline that fell silent, on the pages that show them too."""
    now = timezone.now()
    silent = presence.mark_silent(now, listening.seconds())
    for device_id in silent:
        watching.push(device_id, {"presence": {"online": False, "at": int(now.timestamp() * 1000)}})
    return len(silent)


@shared_task(name="devices.tasks.refresh_broker_files", autoretry_for=(OSError,), retry_backoff=True, max_retries=5)
def refresh_broker_files() -> None:
    """Rewrite CRL, ACL and certificates of the broker; long before any of them expires."""
    broker.write_all(timezone.now())


@shared_task(name="devices.tasks.rotate_certificates", autoretry_for=(OSError,), retry_backoff=True, max_retries=2)
def rotate_certificates() -> dict[str, int]:
    """Open renewals that are due, ask devices within the pace, take replaced certificates out of use."""
    now = timezone.now()
    planned = renewals.plan(now)
    asked = renewals.ask(now)
    for each in asked:
        nudges.renew(each, each.certificate)
    certificates.expire(now)
    retired = certificates.retire(now)
    if retired:
        broker.write_all(now)
    return {"planned": planned, "asked": len(asked), "retired": retired}


@shared_task(name="devices.tasks.shut_out", **_AT_ALL_COSTS)
def shut_out(device_ids: list[str]) -> int:
    """Make decisions about devices effective: first the files that keep them out, once, then the cut of each.

    Again a little later: a device that comes back before the broker has read the new files is met by the next cut.
    Returns how many were cut; raises OSError, and is tried again, while the broker does not answer.
    """
    now = timezone.now()
    return _carry_out(device_ids, cutoffs.pending(now, device_ids), now)


@shared_task(name="devices.tasks.shut_out_overdue")
def shut_out_overdue() -> int:
    """Carry out what staff decided while the queue was away, or what a worker died over. Its next run is its retry."""
    now = timezone.now()
    missed = cutoffs.pending(now, before=now - OVERDUE, limit=OVERDUE_AT_ONCE)
    return _carry_out(sorted({each.device.device_id for each in missed if each.device}), missed, now)


@shared_task(name="devices.tasks.cut", **_AT_ALL_COSTS)
def cut(device_ids: list[str]) -> None:
    """End the live sessions of devices. Raises OSError, and is tried again, while the broker does not answer."""
    for device_id in device_ids:
        outgoing.cut(device_id)


def _carry_out(device_ids: list[str], decisions: list[Event], now: datetime) -> int:
    """Files, cuts, and at the very end the note that it is done: a crash at any line before leaves it overdue."""
    if not device_ids:
        return 0
    broker.write_all(now)
    cut_at: dict[str, datetime] = {}
    for device_id in device_ids:
        outgoing.cut(device_id)
        cut_at[device_id] = timezone.now()
    for seconds in CUT_AGAIN_SECONDS:
        cut.apply_async((device_ids,), countdown=seconds)
    cutoffs.note(decisions, cut_at, timezone.now())
    return len(cut_at)


@shared_task(name="devices.tasks.forget_repeated_requests")
def forget_repeated_requests() -> int:
    """Forget answers to requests that may not be repeated any more."""
    return repeats.forget(timezone.now())
