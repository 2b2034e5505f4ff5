"""One device floods: how much later are the readings of a hundred others stored?

A hundred devices over mutual TLS send 300 readings a second at QoS 1; each reading bears the moment it was made. The
time from then to its commit is PostgreSQL's own (track_commit_timestamp), so nothing polls. Rounds without a flood,
with one device at 10 × its budget, and with the same device as fast as the broker takes it, in turn.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.result import report
from tests.crowd.process import Crowd, register
from tests.fleet import ROOT, Fleet, eventually, folder, running

DEVICES, RATE = 100, 300.0
BUDGET = 600
"""Readings a minute of the one that floods."""
TIMES = 10
ROUNDS, SECONDS = 3, 12
_SETTLE_SECONDS = 3
"""Left out at the beginning of each round; the queue of the last one is empty by then."""
MUST_RATIO, MOST_NOISE = 1.25, 1.5
"""How much later the p95 with a flood may be than without: this, or what rounds without differ by, up to the second."""
KINDS: dict[str, float | None] = {"calm": None, "flood": BUDGET * TIMES / 60, "calm_again": None, "hardest": 0.0}
"""Round → rate of the flood (readings a second; 0: as fast as it can)."""

_LATENCIES = """
    SELECT extract(epoch FROM pg_xact_commit_timestamp(r.xmin) - r.ts)::float8 * 1000,
           extract(epoch FROM r.received_at - r.ts)::float8 * 1000
      FROM telemetry_reading AS r
      JOIN devices_device AS d ON d.id = r.device_id
      JOIN devices_tenant AS t ON t.id = d.tenant_id
     WHERE t.slug = 'others' AND r.ts >= to_timestamp(%s) AND r.ts < to_timestamp(%s)
"""


def main(rounds: int, seconds: float) -> int:
    """A whole portal with one MQTT worker."""
    with folder() as var, running(var, "--no-swarm", "--workers", "1") as fleet:
        _time_commits(fleet)
        here = var.parent / "bench"
        here.mkdir()
        loud = here / "loud"
        register(fleet, loud, "loud", 1)
        _do(fleet, "UPDATE devices_devicetype SET telemetry_per_minute = %s WHERE slug = 'loud'", BUDGET)
        crowd = Crowd(fleet, here / "others", DEVICES, RATE, "others")
        try:
            crowd.wait(DEVICES)
            time.sleep(_SETTLE_SECONDS)
            found = [_round(fleet, loud, name, rate, seconds) for _ in range(rounds) for name, rate in KINDS.items()]
            crowd.quiet()
        finally:
            crowd.stop()
        raised = fleet.sql("SELECT count(*) FROM devices_finding WHERE kind = 'flood'")[0][0]
    return _tell(found, raised)


def _do(fleet: Fleet, statement: str, *parameters: Any) -> None:
    with psycopg.connect(fleet.run["database_url"], autocommit=True) as connection:
        connection.execute(statement, parameters)


def _time_commits(fleet: Fleet) -> None:
    """Have PostgreSQL keep the time of each commit."""
    _do(fleet, "ALTER SYSTEM SET track_commit_timestamp = on")
    old = int(fleet.run["pids"]["postgres"])
    os.kill(old, signal.SIGINT)
    fleet.wait_restarted("postgres", old)
    fleet.wait_ready()


@contextmanager
def flooding(fleet: Fleet, loud: Path, rate: float | None) -> Iterator[list[int]]:
    """Meanwhile one device sends too much; at the end it says how much."""
    sent: list[int] = []
    if rate is None:
        yield sent
        return
    command = [sys.executable, "-m", "benchmarks.flooding", str(loud), fleet.run["ca_file"], str(rate)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield sent
        sent.append(int(process.communicate("enough\n", timeout=60)[0]))


def _round(fleet: Fleet, loud: Path, name: str, rate: float | None, seconds: float) -> dict[str, Any]:
    before = _flooded(fleet)
    with flooding(fleet, loud, rate) as sent:
        time.sleep(_SETTLE_SECONDS)
        began = time.time()
        time.sleep(seconds)
        ended = time.time()
    expected = RATE * seconds
    eventually(lambda: len(_latencies(fleet, began, ended)) >= 0.98 * expected, 60, every=0.5, what="all stored")
    rows = _latencies(fleet, began, ended)
    took, reached = (sorted(column) for column in zip(*rows, strict=True))
    eventually(lambda: _waiting(fleet) == 0, 120, every=0.5, what="the queue of the flood is gone")
    done = {
        "round": name,
        "readings": len(took),
        "p50_ms": round(statistics.median(took), 1),
        "p95_ms": round(took[int(len(took) * 0.95)], 1),
        "p99_ms": round(took[int(len(took) * 0.99)], 1),
        "reached_p95_ms": round(reached[int(len(reached) * 0.95)], 1),
        "sent_a_second": round(sent[0] / (seconds + _SETTLE_SECONDS)) if sent else 0,
        "not_taken": _flooded(fleet) - before,
    }
    sys.stdout.write(f"{done}\n")
    sys.stdout.flush()
    return done


def _latencies(fleet: Fleet, began: float, ended: float) -> list[tuple[float, float]]:
    """From made to stored, and from made to the batch in which it was stored (ms)."""
    return [(stored, reached) for stored, reached in fleet.sql(_LATENCIES, began, ended)]


def _metric(fleet: Fleet, start: str) -> float:
    lines = fleet.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


def _flooded(fleet: Fleet) -> int:
    return int(_metric(fleet, 'fleetportal_mqtt_messages_total{room="telemetry",verdict="flooded"}'))


def _waiting(fleet: Fleet) -> int:
    return int(_metric(fleet, "fleetportal_backlog_seconds"))


def _tell(found: list[dict[str, Any]], raised: int) -> int:
    p95 = {name: [each["p95_ms"] for each in found if each["round"] == name] for name in KINDS}
    calm = p95["calm"] + p95["calm_again"]
    usual = statistics.median(calm)
    ratios = {name: round(statistics.median(p95[name]) / usual, 2) for name in ("flood", "hardest")}
    noise = round(max(calm) / min(calm), 2)
    figures = {"rounds": found, "calm_p95_ms": usual, "findings": raised}
    allowed = max(MUST_RATIO, min(noise, MOST_NOISE))
    must = ratios["flood"] <= allowed and raised == 1
    return report("flood", figures, ratios | {"noise": noise}, must=must, aim=must and ratios["hardest"] <= allowed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asked = parser.parse_args()
    sys.exit(main(asked.rounds, asked.seconds))
