"""Background work of this room."""

from celery import shared_task
from django.utils import timezone

from telemetry import jobs
from telemetry.archive import archives, retention
from telemetry.exporting import exports
from telemetry.refused import deadletters, replays
from telemetry.rolled import rollups
from telemetry.tables import partitions, sealing


@shared_task(name="telemetry.tasks.make_partitions")
def make_partitions() -> list[str]:
    """Make partitions ahead, heal the DEFAULT ones, drop rollups that are too old. Returns all their names."""
    now = timezone.now()
    return [*partitions.make_ahead(now), *partitions.drop_old(now)]


@shared_task(name="telemetry.tasks.heal_strays")
def heal_strays() -> list[str]:
    """Make the partitions of what lies in none."""
    return partitions.heal()


@shared_task(name="telemetry.tasks.purge_dead_letters")
def purge_dead_letters() -> int:
    """Delete old dead letters."""
    return deadletters.purge(timezone.now())


@shared_task(name="telemetry.tasks.roll_up")
def roll_up() -> int:
    """Compute the figures of touched minutes and hours anew, and measure how far behind they are."""
    done = rollups.roll_up(timezone.now())
    rollups.LAG.set(rollups.lag(timezone.now()))
    return done


@shared_task(name="telemetry.tasks.archive_days")
def archive_days() -> list[str]:
    """Archive and drop the days that are older than HOT_DAYS."""
    return [str(day) for day in archives.archive_due(timezone.now())]


@shared_task(name="telemetry.tasks.seal_days")
def seal_days() -> str:
    """Pack the index of one day that is over and quiet. Returns its table, "" for none."""
    return sealing.seal_next(timezone.now())


@shared_task(name="telemetry.tasks.apply_retention")
def apply_retention() -> int:
    """Delete what a retention rule says, in batches."""
    return retention.apply(timezone.now())


@shared_task(name="telemetry.tasks.replay")
def replay(pk: int) -> None:
    """Take dead letters in once more."""
    replays.run(pk)


@shared_task(name="telemetry.tasks.export")
def export(pk: int) -> None:
    """Write an exported file."""
    exports.run(pk)


@shared_task(name="telemetry.tasks.tidy_jobs")
def tidy_jobs() -> None:
    """Start jobs anew that a crash cut off, and delete files nobody may fetch any more."""
    now = timezone.now()
    jobs.resume(now)
    exports.expire(now)
