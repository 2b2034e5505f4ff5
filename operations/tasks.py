"""Background work of this room."""

from celery import shared_task
from django.utils import timezone

from operations import audits, handshakes


@shared_task(name="operations.tasks.run_audits")
def run_audits() -> dict[str, str]:
    """Ask every audit, and forget old minutes."""
    now = timezone.now()
    handshakes.purge(now)
    return {ran.name: ran.state for ran in audits.run(now)}


@shared_task(name="operations.tasks.run_urgent_audits")
def run_urgent_audits() -> dict[str, str]:
    """Ask the audits that are cheap and cannot wait for an hour."""
    return {ran.name: ran.state for ran in audits.run(timezone.now(), often=True)}
