"""Readings of some tenants or types go earlier, with their figures: never from a day that is still written to.

Each rule is a promise that nothing older stays, so rules do not override each other: where several meet, the shortest
holds. A rule is carried out once a day (UTC) in small batches with pauses; a crash costs nothing but the rest of that
run. What comes late for a day that is clean already is stored, and goes with the next day's. Each batch asks whether
the rule still stands as it began: one that is ended or changed stops there.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import structlog
from django.db import ProgrammingError, connection, transaction
from django.db.models import F, Q, QuerySet

from devices import evidence
from devices.models import Device
from telemetry.archive.one_at_a_time import alone
from telemetry.models import Latest, Retention
from telemetry.tables import partitions, trees
from telemetry.tables.trees import Tree

log = structlog.get_logger(__name__)
BATCH = 10_000
"""Rows of one transaction: a quarter of a second."""
BUDGET = 600.0
"""Seconds of one run: jobs that people wait for have the same worker. The next run goes on where it stopped."""
_DEVICES = 1000  # of one statement
_LONGEST_PAUSE = 1.0  # seconds


class _Stopped(Exception):
    """The rule was ended or changed, or the time is up: nothing more is deleted for it now."""


def apply(now: datetime) -> int:
    """Carry out all rules that were not yet today, for BUDGET seconds. Returns how many readings went.

    Readings are counted once their rule came to its end. Nothing is done while another process works on archive or
    retention.
    """
    today, until = now.astimezone(UTC).date(), time.monotonic() + BUDGET
    with alone() as ours:
        if not ours:
            return 0
        waiting = Retention.objects.filter(Q(swept_on__isnull=True) | Q(swept_on__lt=today))
        # Each is read when its turn comes: until then it may be ended or changed.
        rules = (waiting.filter(pk=pk).first() for pk in list(waiting.order_by("pk").values_list("pk", flat=True)))
        return sum(sweep(rule, today, now, until) for rule in rules if rule)


def first_kept(rule: Retention, today: date) -> date:
    """The oldest day (UTC) of which a rule leaves readings: with one day, yesterday."""
    return today - timedelta(days=rule.days)


def devices_of(rule: Retention) -> QuerySet[Device]:
    """Whose readings a rule is about."""
    chosen = {"tenant_id": rule.tenant_id, "device_type_id": rule.device_type_id}
    return Device.objects.filter(**{name: pk for name, pk in chosen.items() if pk})


def sweep(rule: Retention, today: date, now: datetime, until: float = math.inf) -> int:
    """Delete all that a rule says: readings, figures of minutes and hours, latest values. Returns how many readings.

    The event tells what was deleted since the last one, also by a run that was cut off. Stops at `until` (of the
    monotonic clock) and where the rule is ended or changed; returns 0 then, and the next run goes on.
    """
    try:
        _sweep(rule, first_kept(rule, today), until)
    except _Stopped:
        log.info("retention_stopped", rule=str(rule))
        return 0
    return _end(rule, today, now)


def _sweep(rule: Retention, before: date, until: float) -> None:
    chunks = list(_chunks(rule))
    for day in sorted(partitions.days()):
        if (rule.reached or day) <= day < before:
            _delete_readings(rule, partitions.partition(day), chunks, before, until)
            Retention.objects.filter(pk=rule.pk).update(reached=day + timedelta(days=1))
    _delete_readings(rule, partitions.STRAYS, chunks, before, until)
    for tree in (partitions.MINUTES, partitions.HOURS):
        for table in [tree.strays, *(tree.part(day) for day in trees.parts(tree) if day < before)]:
            _delete(rule, tree, table, chunks, before, until)
    with transaction.atomic():
        _check_stands(rule)
        Latest.objects.filter(device__in=devices_of(rule), ts__lt=trees.midnight(before)).delete()


def apply_to_day(day: date, now: datetime) -> int:
    """Delete what the rules say of one day, before it is archived and after it is restored. Returns how many readings.

    They are counted for the rule's next event. A rule that is changed meanwhile is asked again.
    """
    today, deleted = now.astimezone(UTC).date(), 0
    pks = list(Retention.objects.order_by("pk").values_list("pk", flat=True))
    while pks:
        rule = Retention.objects.filter(pk=pks[0]).first()
        try:
            if rule and day < first_kept(rule, today):
                before, chunks = first_kept(rule, today), list(_chunks(rule))
                deleted += _delete_readings(rule, partitions.partition(day), chunks, before)
        except _Stopped:
            continue
        pks.pop(0)
    return deleted


def _check_stands(rule: Retention) -> None:
    """Nobody ends or changes it until the transaction is over. Raises _Stopped where somebody has."""
    days = Retention.objects.select_for_update(no_key=True).filter(pk=rule.pk).values_list("days", flat=True).first()
    if days != rule.days:
        raise _Stopped


def _end(rule: Retention, today: date, now: datetime) -> int:
    with transaction.atomic():
        row = Retention.objects.select_for_update().filter(pk=rule.pk).first()
        if row is None:
            return 0  # it was ended meanwhile, and that left an event of its own
        if row.deleted:
            detail = {"rule": str(row), "readings": row.deleted, "before": str(first_kept(row, today))}
            evidence.record("retention.applied", tenant=row.tenant, reason=row.reason, detail=detail, at=now)
            log.info("retention_applied", **detail)
        # A rule that was changed meanwhile is carried out anew.
        swept_on = today if row.days == rule.days else None
        Retention.objects.filter(pk=row.pk).update(swept_on=swept_on, reached=None, deleted=0)
        return int(row.deleted)


def end(rule: Retention, reason: str, user: Any) -> bool:
    """End a promise: from now on these readings stay as long as all others. False when it was ended before."""
    with transaction.atomic():
        row = Retention.objects.select_for_update().filter(pk=rule.pk).first()
        if row is None:
            return False
        detail = {"rule": str(row), "readings": row.deleted}
        evidence.record("retention.ended", tenant=row.tenant, user=user, reason=reason, detail=detail)
        row.delete()
    return True


def _chunks(rule: Retention) -> Iterator[list[int]]:
    pks = list(devices_of(rule).order_by("pk").values_list("pk", flat=True))
    for begin in range(0, len(pks), _DEVICES):
        yield pks[begin : begin + _DEVICES]


def _delete_readings(
    rule: Retention, table: str, chunks: Sequence[list[int]], before: date, until: float = math.inf
) -> int:
    def count(deleted: int) -> None:
        Retention.objects.filter(pk=rule.pk).update(deleted=F("deleted") + deleted)

    return _delete(rule, partitions.READINGS, table, chunks, before, until, count)


def _delete(
    rule: Retention,
    tree: Tree,
    table: str,
    chunks: Sequence[list[int]],
    before: date,
    until: float,
    count: Callable[[int], object] = lambda _: None,
) -> int:
    """Delete rows of these devices, a batch a transaction; `count` is told of each batch inside its transaction.

    A part that is dropped meanwhile is clean. A device that is not the rule's any more keeps its rows. Returns how
    many rows. Raises _Stopped: the rule does not stand as it did, or it is later than `until`.
    """
    total = 0
    chosen = f"SELECT ctid FROM {table} WHERE device_id = ANY(%s) AND {tree.column} < %s LIMIT %s"  # noqa: S608
    batch = f"DELETE FROM {table} WHERE ctid = ANY(ARRAY({chosen}))"  # noqa: S608 (our names)
    for pks in chunks:
        deleted = BATCH
        while deleted == BATCH:
            began = time.monotonic()
            if began > until:
                raise _Stopped
            try:
                with transaction.atomic(), connection.cursor() as cursor:
                    _check_stands(rule)
                    still = list(devices_of(rule).filter(pk__in=pks).values_list("pk", flat=True))
                    cursor.execute(batch, [still, trees.midnight(before), BATCH])
                    deleted = cursor.rowcount
                    total += deleted
                    if deleted:
                        count(deleted)
            except ProgrammingError as error:
                if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                    return total
                raise
            if deleted:
                time.sleep(min(_LONGEST_PAUSE, time.monotonic() - began))  # others work at least half of the time
    return total
