"""Background work of this room: fetch, one call, retry policy."""

from celery import shared_task
from django.utils import timezone

from devices import broker, certificates, cutoffs, listening, nudges, outgoing, presence, renewals, watching

CUT_AGAIN_SECONDS = 2


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


@shared_task(name="devices.tasks.shut_out", autoretry_for=(OSError,), retry_backoff=True, max_retries=5)
def shut_out(device_id: str) -> bool:
    """Make a revocation or quarantine effective: first the files that keep it out, then the cut, and once more.

    A device that comes back before the broker has read the new files is met by the second cut.
    """
    broker.write_all(timezone.now())
    answered = outgoing.cut(device_id)
    if answered:
        cutoffs.note(device_id, timezone.now())
    cut.apply_async((device_id,), countdown=CUT_AGAIN_SECONDS)
    return answered


@shared_task(name="devices.tasks.cut", autoretry_for=(OSError,), retry_backoff=True, max_retries=5)
def cut(device_id: str) -> bool:
    """End a device's live session."""
    return outgoing.cut(device_id)
