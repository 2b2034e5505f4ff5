"""Background work of this room."""

from celery import shared_task
from django.utils import timezone

from telemetry import deadletters, partitions


@shared_task(name="telemetry.tasks.make_partitions")
def make_partitions() -> list[str]:
    """Make partitions ahead and heal the DEFAULT one."""
    return [str(day) for day in partitions.make_ahead(timezone.now())]


@shared_task(name="telemetry.tasks.purge_dead_letters")
def purge_dead_letters() -> int:
    """Delete old dead letters."""
    return deadletters.purge(timezone.now())
