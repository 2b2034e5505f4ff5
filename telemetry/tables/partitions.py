"""Which partitions there are: made days ahead, made late where readings strayed, dropped when they are too old."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta

import structlog
from django.conf import settings
from django.db import OperationalError, connection

from telemetry.tables import trees
from telemetry.tables.trees import Tree

log = structlog.get_logger(__name__)

# Rows that never change are frozen by the vacuum that their number calls for, not read once more years later.
_APPENDED = "autovacuum_freeze_min_age = 0"
# The hour under way is written anew every few minutes: its old versions make room before they are a fifth of the month.
_REWRITTEN = "autovacuum_vacuum_scale_factor = 0.02"

READINGS = Tree("telemetry_reading", "ts", _APPENDED)
MINUTES = Tree("telemetry_minute", "start", _APPENDED)
HOURS = Tree("telemetry_hour", "start", _REWRITTEN, monthly=True)
TREES = (READINGS, MINUTES, HOURS)
STRAYS = READINGS.strays


def partition(day: date) -> str:
    """Table name of a day (UTC) of readings."""
    return READINGS.part(day)


def days() -> list[date]:
    """Days (UTC) whose readings have a partition, the oldest first."""
    return trees.parts(READINGS)


def make_day(day: date) -> bool:
    """Make the partition of a day of readings; see trees.make."""
    return trees.make(READINGS, day)


def drop_day(day: date, check: Callable[[], bool]) -> bool:
    """Drop a day of readings, if `check` agrees; see trees.drop. Only the archive does that."""
    return trees.drop(READINGS, day, check)


def make_ahead(now: datetime) -> list[str]:
    """Make yesterday's to the coming days' partitions, and those of all strays. Returns the names of those made."""
    today = _day(now)
    ahead = [today + timedelta(days=number) for number in range(-1, settings.PARTITION_DAYS_AHEAD + 1)]
    months = [today, HOURS.after(today)]
    made = [*_make(READINGS, ahead), *_make(MINUTES, ahead), *_make(HOURS, months)]
    return made + heal()


def heal() -> list[str]:
    """Make the partitions of all strays. Returns the names of those made."""
    return [name for tree in TREES for name in _make(tree, trees.stray_days(tree))]


def drop_old(now: datetime) -> list[str]:
    """Drop rollups that are too old: minutes after MINUTE_DAYS, hours after HOUR_DAYS. Returns the names dropped."""
    old_minutes = [day for day in trees.parts(MINUTES) if MINUTES.after(day) <= oldest_minutes(now)]
    old_hours = [day for day in trees.parts(HOURS) if not keeps_hours(day, now)]
    return [*_each(trees.drop, MINUTES, old_minutes), *_each(trees.drop, HOURS, old_hours)]


def oldest_minutes(now: datetime) -> date:
    """The oldest day (UTC) whose minutes are kept."""
    return _day(now) - timedelta(days=settings.MINUTE_DAYS)


def keeps_hours(day: date, now: datetime) -> bool:
    """Are hours of this day (UTC) kept? They go by the month."""
    return HOURS.after(day) > _day(now) - timedelta(days=settings.HOUR_DAYS)


def stray_days() -> list[date]:
    """Days (UTC) that have readings in the DEFAULT partition, the oldest first."""
    return trees.stray_days(READINGS)


def days_ahead(now: datetime) -> int:
    """How many days from today on have a partition without a gap; 0 means today's is missing."""
    today = _day(now)
    with connection.cursor() as cursor:
        names = [partition(today + timedelta(days=ahead)) for ahead in range(settings.PARTITION_DAYS_AHEAD + 1)]
        cursor.execute("SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NOT NULL", [names])
        present = {row[0] for row in cursor.fetchall()}
    for ahead, name in enumerate(names):
        if name not in present:
            return ahead
    return len(names)


def _day(now: datetime) -> date:
    return now.astimezone(UTC).date()


def _make(tree: Tree, wanted: Iterable[date]) -> list[str]:
    return _each(trees.make, tree, sorted({tree.first(day) for day in wanted}))


def _each(work: Callable[[Tree, date], bool], tree: Tree, days: Iterable[date]) -> list[str]:
    """Names of the parts for which it did something. Who reads the table stands in the way of all: it ends at once."""
    done = []
    for day in days:
        try:
            if work(tree, day):
                done.append(tree.part(day))
        except OperationalError as error:
            log.warning("partition_busy", partition=tree.part(day), error=str(error).strip())
            break  # tried again within the hour; there are days of room
    return done
