"""The audits: asked by beat or by hand, each for itself, its findings made to say what is true now.

Which audits there are: every room's AppConfig adds its own to devices/auditing.py. Those of releases (is what devices
are offered signed?) come with the firmware room.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import structlog
from django.db import connection, transaction

from devices import findings
from devices.auditing import INFO, SEVERITIES, WARNING, Audit, Found, audits

log = structlog.get_logger(__name__)

LIMIT = 10_000
"""Most findings of one audit. What is beyond is neither raised nor resolved, and that is a finding, too."""
FAILED, OVERFLOW = "audit_failed", "audit_overflow"
_TIMEOUT = "60s"
_LOCK = 0xA0D1  # advisory lock, with the audit's name: two workers at once do not look at the same thing


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of one audit."""

    name: str
    seconds: float
    state: str = "done"
    """done, unseen (it could not be seen), busy (another worker is at it), overflow, or the error."""
    found: int = 0
    opened: int = 0
    resolved: int = 0
    failed: bool = False


def run(now: datetime, names: Iterable[str] = (), *, often: bool = False) -> list[Ran]:
    """Run these audits (without names: all, or those asked often). One that fails does not stop the others."""
    wanted = set(names)
    chosen = [each for each in audits() if (each.name in wanted if wanted else each.often or not often)]
    findings.close_suppressed()
    ran = [_try(each, now) for each in chosen]
    _report(ran)
    return ran


def _try(audit: Audit, now: datetime) -> Ran:
    began = time.monotonic()
    try:
        with transaction.atomic():
            done = _run(audit, now)
    except Exception as error:
        log.exception("audit_failed", audit=audit.name)
        return Ran(audit.name, time.monotonic() - began, f"{type(error).__name__}: {error}"[:300], failed=True)
    state, found, opened, resolved = done
    return Ran(audit.name, time.monotonic() - began, state, found, opened, resolved)


def _run(audit: Audit, now: datetime) -> tuple[str, int, int, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", [_LOCK, audit.name])
        if not cursor.fetchone()[0]:
            return "busy", 0, 0, 0
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [_TIMEOUT])
    seen = audit.look(now)
    if seen is None:
        return "unseen", 0, 0, 0
    rows = list(islice(seen, LIMIT + 1))
    found = _worst(rows[:LIMIT])
    if len(rows) > LIMIT:
        opened, _ = findings.observe((), found)
        return "overflow", len(found), opened, 0
    return "done", len(found), *findings.observe(audit.kinds, found)


def _worst(rows: list[Found]) -> list[Found]:
    """Of several about the same thing only the worst: a finding is told once."""
    chosen: dict[tuple[str, int | None, str], Found] = {}
    for row in rows:
        key = (row.kind, row.device_pk, row.subject[:200])
        if key not in chosen or SEVERITIES.index(row.severity) > SEVERITIES.index(chosen[key].severity):
            chosen[key] = row
    return list(chosen.values())


def _report(ran: list[Ran]) -> None:
    """Findings about the audits themselves."""
    told = [Found(FAILED, each.state, WARNING, subject=each.name) for each in ran if each.failed]
    told += [
        Found(OVERFLOW, f"More than {LIMIT} findings; only these are kept up to date.", INFO, subject=each.name)
        for each in ran
        if each.state == "overflow"
    ]
    judged = [each.name for each in ran if each.state != "busy"]
    findings.observe((FAILED, OVERFLOW), told, subjects=judged)
