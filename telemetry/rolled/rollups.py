"""Figures of minutes and hours, computed anew where readings came in: the queue of touched buckets, worked off."""

import time
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby

from django.db import connection, transaction
from django.db.models import Max, Min
from django.utils import timezone
from prometheus_client import Gauge

from telemetry.models import Touched
from telemetry.rolled import figures
from telemetry.tables import partitions, trees

MINUTE, HOUR = Touched.Grain.MINUTE, Touched.Grain.HOUR
LAG = Gauge("fleetportal_rollup_lag_seconds", "Age of the oldest touched bucket (s).", multiprocess_mode="mostrecent")
BUDGET = 45.0
"""Seconds a run may take, so that it ends before the next begins."""
LATE = timedelta(seconds=5)
"""A minute is computed when it is over for so long; so most are computed once, and written once."""
HOURS_AFTER = timedelta(minutes=5)
"""So long the hours gather what touched them; then each is computed once for many minutes."""
_FRESH = timedelta(hours=3)  # hours that began so lately are whole in their minutes: most that are computed are such
_LOCK = 0x40F5  # advisory lock: one process at a time
_MOST_ROWS, _MOST_PAIRS = 20_000, 2_000_000  # read in one transaction: what many batches touched is computed once
# Computed in one transaction; at one reading a second that takes 10 s, and longer for hours that need their readings.
_MOST_BUCKETS = {MINUTE: 50_000, HOUR: 10_000}

# The order matters under READ COMMITTED, where each statement sees what was committed before it began. Touched rows are
# read (and deleted) first, readings after them: whatever touched row we saw, its readings are seen, too, as both were
# committed together. Readings committed in between are in the figures already, and their touched row, which we did not
# see and so do not delete, has them computed once more. The other way round, readings committed in between would be
# missed, and their touched row deleted.
_TAKE = """
    WITH chosen AS (
        SELECT id FROM (
            SELECT id, sum(cardinality(buckets)) OVER (ORDER BY id) - cardinality(buckets) AS before
              FROM (SELECT id, buckets FROM telemetry_touched WHERE grain = %s AND id <= %s ORDER BY id LIMIT %s) AS old
        ) AS counted WHERE before < %s
    ), gone AS (
        DELETE FROM telemetry_touched WHERE id IN (SELECT id FROM chosen) RETURNING devices, buckets, created_at
    ), pairs AS (
        SELECT DISTINCT device, bucket FROM gone, unnest(devices, buckets) AS pair (device, bucket)
    )
    SELECT device, bucket, (SELECT min(created_at) FROM gone) FROM pairs ORDER BY bucket, device
"""
_TOUCH = "INSERT INTO telemetry_touched (grain, devices, buckets, created_at) VALUES (%s, %s, %s, %s) RETURNING id"
_MOST_LATE = 2_000  # hours of a day, beside its minutes: more wait their turn
_PER_DAY = {MINUTE: 1440, HOUR: 24}
_EPOCH = date(1970, 1, 1)
_STEP = 10  # devices that a repair computes at a time: a day of ten at one reading a second takes three seconds

Pairs = Sequence[tuple[int, int]]
"""Devices, each with a minute or hour since 1970."""


def roll_up(now: datetime) -> int:
    """Compute all touched minutes that are over, and every five minutes the hours these touched.

    Returns how many buckets; 0 also where another process is at it. Takes BUDGET seconds at most, and one transaction
    (about ten seconds) more: what is left is the next run's.
    """
    until = time.monotonic() + BUDGET
    done = _work_off(MINUTE, now, until)
    if Touched.objects.filter(grain=HOUR, created_at__lte=now - HOURS_AFTER).exists():
        done += _work_off(HOUR, now, until)
    return done


def lag(now: datetime) -> float:
    """Age of the oldest minutes that wait (s), 0 when none does. Hours wait a little on purpose."""
    oldest = waits_since(MINUTE)
    return max(0.0, (now - oldest).total_seconds()) if oldest else 0.0


def waits_since(grain: Touched.Grain) -> datetime | None:
    """When the oldest bucket that waits was touched; None when none does."""
    oldest: datetime | None = Touched.objects.filter(grain=grain).aggregate(oldest=Min("created_at"))["oldest"]
    return oldest


def recompute(device_pks: Sequence[int], since: datetime, until: datetime, now: datetime) -> Iterator[int]:
    """Compute all buckets of these devices from `since` to before `until`, for repair. Yields how many, in steps.

    Those whose readings are not in the database any more stay as they are. Between two steps it does the work of
    `roll_up`, which would find it busy.
    """
    first, last = int(since.timestamp()) // figures.MINUTE, -int(-until.timestamp() // figures.MINUTE)
    for number in range(first // 1440, -(-last // 1440)):
        day = _EPOCH + timedelta(days=number)
        minutes = range(max(first, number * 1440), min(last, number * 1440 + 1440))
        hours = range(minutes[0] // 60, minutes[-1] // 60 + 1)
        for place in range(0, len(device_pks), _STEP):
            devices = device_pks[place : place + _STEP]
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(%s), pg_advisory_xact_lock_shared(%s)", [_LOCK, trees.LOCK]
                )
                _minutes(day, [(device, minute) for device in devices for minute in minutes], now)
                _hours(day, [(device, hour) for device in devices for hour in hours], now)
            yield len(devices) * len(minutes)
            roll_up(timezone.now())


def _work_off(grain: Touched.Grain, now: datetime, until: float) -> int:
    """What is there now, not what comes meanwhile: a backlog that drains would have its minutes computed for ever."""
    newest = Touched.objects.filter(grain=grain).aggregate(newest=Max("pk"))["newest"] or 0
    done = 0
    while time.monotonic() < until:
        some, newest = _step(grain, newest, now)
        if not some:
            break
        done += some
    return done


def _step(grain: Touched.Grain, newest: int, now: datetime) -> tuple[int, int]:
    """Work off rows up to `newest`, in one transaction.

    Returns how many buckets, 0 also where somebody is at it; and up to where the next step should look.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return 0, newest
        # No partition is healed meanwhile: between two statements of ours its readings would move out of sight.
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [trees.LOCK])
        cursor.execute(_TAKE, [grain.value, newest, _MOST_ROWS, _MOST_PAIRS])
        rows = cursor.fetchall()
        pairs = [(device, bucket) for device, bucket, _ in rows]
        if grain is MINUTE:
            early = range(_minute(now - LATE), _minute(now) + 1)
            _touch(grain, [pair for pair in pairs if pair[1] in early], now)
            pairs = [pair for pair in pairs if pair[1] not in early]
        most = _MOST_BUCKETS[grain]
        if len(pairs) > most:
            newest = _touch(grain, pairs[most:], rows[0][2])
            pairs = pairs[:most]
        for day, some in groupby(pairs, lambda pair: _EPOCH + timedelta(days=pair[1] // _PER_DAY[grain])):
            _compute(grain, day, list(some), now)
    return len(pairs), newest


def _compute(grain: Touched.Grain, day: date, pairs: Pairs, now: datetime) -> None:
    if grain is HOUR:
        _hours(day, pairs, now)
    else:
        _minutes(day, pairs, now)
        hours = sorted({(device, minute // 60) for device, minute in pairs})
        # Nothing more is coming into an hour long gone: a device that empties its buffer has it in its charts at once.
        late = [pair for pair in hours if pair[1] < _minute(now) // 60 - 1]
        late = late if len(late) <= _MOST_LATE else []
        _hours(day, late, now)
        _touch(HOUR, [pair for pair in hours if pair not in set(late)], now)


def _minutes(day: date, pairs: Pairs, now: datetime) -> None:
    if day >= partitions.oldest_minutes(now):
        figures.minutes(day, *_columns(pairs))


def _hours(day: date, pairs: Pairs, now: datetime) -> None:
    """From minutes where these know of every reading; the oldest day's minutes may be dropped at any moment.

    An hour whose month is not kept is passed over: it would stray, have its month made, and that dropped, for ever.
    """
    if not partitions.keeps_hours(day, now):
        return
    if day > partitions.oldest_minutes(now):
        fresh = int((now - _FRESH).timestamp()) // figures.HOUR
        lacking = figures.lacking(day, *_columns([pair for pair in pairs if pair[1] < fresh]))
    else:
        lacking = set(pairs)
    figures.hours(day, *_columns([pair for pair in pairs if pair not in lacking]), from_minutes=True)
    figures.hours(day, *_columns([pair for pair in pairs if pair in lacking]), from_minutes=False)


def _touch(grain: Touched.Grain, pairs: Pairs, since: datetime) -> int:
    """Returns the row's key; 0 without pairs."""
    if not pairs:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_TOUCH, [grain.value, *_columns(pairs), since])
        return int(cursor.fetchone()[0])


def _columns(pairs: Pairs) -> tuple[list[int], list[int]]:
    return [device for device, _ in pairs], [bucket for _, bucket in pairs]


def _minute(moment: datetime) -> int:
    return int(moment.timestamp()) // figures.MINUTE
