"""Audit of the rollups: minutes and hours that wait for their figures."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from devices import runbooks
from devices.auditing import WARNING, Audit, Found
from telemetry.rolled import rollups

BEHIND = "rollups_behind"
_PATIENCE = timedelta(minutes=15)
"""Minutes wait for seconds as a rule, hours for up to seven minutes."""


def behind(now: datetime) -> Iterator[Found]:
    """Something touched waits for more than 15 minutes. Sets the gauge too: no run of the rollups may come to do it."""
    rollups.LAG.set(rollups.lag(now))
    waiting = [(since, grain) for grain in (rollups.MINUTE, rollups.HOUR) if (since := rollups.waits_since(grain))]
    late = [(since, grain) for since, grain in waiting if now - since > _PATIENCE]
    if late:
        since, grain = min(late)
        detail = f"The oldest {grain.label.lower()} without its figures waits since {since:%Y-%m-%d %H:%M} (UTC)."
        yield Found(BEHIND, detail, WARNING)


AUDITS = (Audit("rollups", (BEHIND,), behind, often=True),)
RUNBOOKS = {BEHIND: runbooks.INDEX}
"""For devices/runbooks.py: the page of each kind."""
