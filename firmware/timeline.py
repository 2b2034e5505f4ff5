"""The time line of an update: every report as it came, once, and how often. Bounded, whatever a device sends."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from devices.contract import UpdateReport

MOST = 200
"""Lines of an update."""
MOST_IN_PASSING = 150
"""Lines that tell no new state: the end of a long story still finds room."""


@dataclass(frozen=True, slots=True)
class Line:
    """A report, and what became of it."""

    update: int
    report: UpdateReport
    applied: bool
    """It moved the update."""
    turn: bool
    """It moved it to another state."""


_KEEP = """
    INSERT INTO firmware_report (update_id, at, attempt, seq, state, progress, reason_code, firmware_version, boot_id,
                                 applied, count)
    SELECT said.update_id, %(now)s, said.attempt, said.seq, said.state, said.progress, said.reason_code,
           said.firmware_version, said.boot_id, said.applied, said.count
      FROM unnest(%(updates)s::bigint[], %(attempts)s::smallint[], %(seqs)s::bigint[], %(states)s::text[],
                  %(progress)s::smallint[], %(reasons)s::text[], %(versions)s::text[], %(boots)s::text[],
                  %(applied)s::boolean[], %(counts)s::integer[], %(nth)s::integer[], %(most)s::integer[])
           WITH ORDINALITY AS said (update_id, attempt, seq, state, progress, reason_code, firmware_version, boot_id,
                                    applied, count, nth, most, number)
      LEFT JOIN (SELECT update_id, count(*) AS lines FROM firmware_report
                  WHERE update_id = ANY(%(updates)s::bigint[]) GROUP BY update_id) AS kept USING (update_id)
     WHERE coalesce(kept.lines, 0) + said.nth <= said.most
        OR EXISTS (SELECT FROM firmware_report r
                    WHERE (r.update_id, r.attempt, r.seq) = (said.update_id, said.attempt, said.seq))
     ORDER BY said.number
    ON CONFLICT (update_id, attempt, seq) DO UPDATE SET count = firmware_report.count + excluded.count
"""


def keep(lines: Iterable[Line], now: datetime) -> None:
    """Note reports of updates that are locked. The same again counts up."""
    first: dict[tuple[int, int, int], Line] = {}
    count: dict[tuple[int, int, int], int] = {}
    for line in lines:
        key = (line.update, line.report.attempt, line.report.seq)
        first.setdefault(key, line)
        count[key] = count.get(key, 0) + 1
    if not first:
        return
    met: dict[int, int] = {}
    nth = []
    for line in first.values():
        met[line.update] = met.get(line.update, 0) + 1
        nth.append(met[line.update])
    kept = list(first.values())
    with connection.cursor() as cursor:
        cursor.execute(
            _KEEP,
            {
                "now": now,
                "updates": [line.update for line in kept],
                "attempts": [line.report.attempt for line in kept],
                "seqs": [line.report.seq for line in kept],
                "states": [line.report.state for line in kept],
                "progress": [line.report.progress for line in kept],
                "reasons": [line.report.reason_code for line in kept],
                "versions": [line.report.firmware_version for line in kept],
                "boots": [line.report.boot_id for line in kept],
                "applied": [line.applied for line in kept],
                "counts": list(count.values()),
                "nth": nth,
                "most": [MOST if line.turn else MOST_IN_PASSING for line in kept],
            },
        )
