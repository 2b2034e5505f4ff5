"""What is asked of ingest every minute: floods that have ended, messages that wait, messages the broker dropped."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from redis import RedisError

from devices import findings, runbooks
from devices.auditing import CRITICAL, Audit, Found
from telemetry import backlog, pressure
from telemetry.floods import FLOOD, FLOOD_TENANT

BACKLOG, DROPPED = "backlog", "broker_dropped"
CALM = timedelta(hours=1)
"""A flood is over when nothing was refused for so long."""


def floods(now: datetime) -> tuple[Found, ...]:
    """Floods are found where messages are taken in; here they end."""
    findings.expire((FLOOD, FLOOD_TENANT), now - CALM)
    return ()


def pressed(_now: datetime) -> list[Found] | None:
    """Does ingest keep up with what comes, and the broker with ingest?"""
    try:
        seen = backlog.now()
    except RedisError:
        return None
    return list(_told(seen))


def _told(seen: backlog.Backlog) -> Iterator[Found]:
    if severity := pressure.severity(seen.seconds):
        why = f" The database has taken nothing for {seen.away:,.0f} s." if seen.away else ""
        yield Found(BACKLOG, f"Messages wait for {seen.seconds:,.0f} s; {seen.messages:,} are known to.{why}", severity)
    if seen.broker and pressure.is_dropping(seen.broker, time.time()):
        detail = f"A client's queue was full: {seen.broker.dropped:,} messages dropped since the broker started."
        yield Found(DROPPED, detail, CRITICAL)


AUDITS = (
    Audit("floods", (), floods, often=True),
    Audit("backlog", (BACKLOG, DROPPED), pressed, often=True),
)
RUNBOOKS = {FLOOD: runbooks.INDEX, FLOOD_TENANT: runbooks.INDEX} | dict.fromkeys((BACKLOG, DROPPED), runbooks.BACKLOG)
"""For devices/runbooks.py: the page of each kind."""
