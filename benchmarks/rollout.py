"""A campaign over 1,000, 10,000 and 100,000 registry devices: what it costs a device, and what else waits meanwhile.

A whole portal with one MQTT worker and one rollout worker. Offers leave by the broker; reports, wills and births come
back through it, into the control session. What answers is one process that speaks for all devices (tests/reporters.py):
nine messages for each. Stages 1, 5, 10, 25, 100 %, no soak, a verify time of a second.
"""

import argparse
import itertools
import json
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.result import report
from tests import campaigning
from tests.fleet import Fleet, eventually, folder, running
from tests.reporters import Reporters

SIZES = [1_000, 10_000, 100_000]
PERCENTS = [1, 5, 10, 25, 100]
WARM_UP = 200
"""Devices of a campaign before the first: processes load what they need, and plans are made."""
IDLE_SECONDS = 10
WORKERS = ("mqtt1", "rollout", "postgres")
"""Whose CPU time is a campaign's cost. The broker's is told beside it."""
MUST_RATIO, AIM_RATIO, MUST_ADVANCE_S = 2.0, 1.3, 1.0
_SETTINGS = {"ROLLOUT_EVERY": "1s"}
_TASK = re.compile(r"Task firmware\.tasks\.advance\[[^]]*] succeeded in ([0-9.e-]+)s")
_SECONDS_A_DEVICE = 0.1


def main(sizes: list[int]) -> int:
    """One portal, the sizes one after the other."""
    with folder() as var, running(var, "--no-swarm", "--workers", "1", **_SETTINGS) as fleet:
        campaign(fleet, WARM_UP, "warm")
        with campaigning.probe(fleet) as waited:
            time.sleep(IDLE_SECONDS)
        idle = max(waited)
        runs = {size: campaign(fleet, size, f"n{size}") for size in sizes}
    small, large = runs[min(sizes)], runs[max(sizes)]
    ratios = {"cpu_per_device": round(large["cpu_ms"] / small["cpu_ms"], 2)}
    slowest = large["advance_p95_s"]
    figures: dict[str, Any] = {"idle_default_queue_max_s": idle} | {str(size): run for size, run in runs.items()}
    must = ratios["cpu_per_device"] <= MUST_RATIO and slowest <= MUST_ADVANCE_S
    return report("rollout", figures, ratios, must=must, aim=must and ratios["cpu_per_device"] <= AIM_RATIO)


def campaign(fleet: Fleet, size: int, name: str) -> dict[str, Any]:
    """One campaign from its draft to its end."""
    # More in flight than usual, and at any rate: what is measured is the portal and not its patience.
    pace = {"max_concurrent": 300, "offers_per_minute": 10**6}
    made = campaigning.prepare(fleet, name, size, PERCENTS, **pace)
    reporters = Reporters(fleet.env()["MQTT_URL"], made["prefix"])
    log = Path(fleet.run["log_directory"]) / "rollout.log"
    logged = log.stat().st_size
    try:
        planned = campaigning.start(fleet, made["campaign"])
        before, began = cpu(fleet), time.monotonic()
        with campaigning.probe(fleet) as waited:

            def ended() -> bool:
                return campaigning.state(fleet, made["campaign"]) != "running"

            eventually(ended, 60 + size * _SECONDS_A_DEVICE, every=0.2, what="the campaign's end")
        wall = time.monotonic() - began
        used = {worker: used - before[worker] for worker, used in cpu(fleet).items()}
    finally:
        reporters.close()
    check(fleet, made["campaign"], size)
    with log.open("rb") as lines:
        lines.seek(logged)
        advances = sorted(float(each) for each in _TASK.findall(lines.read().decode()))
    found = {
        "made_s": round(made["made_s"], 2),
        "planned_s": round(planned, 2),
        "wall_s": round(wall, 1),
        "wall_ms": round(wall / size * 1000, 2),
        "cpu_ms": round(sum(used[worker] for worker in WORKERS) / size * 1000, 2),
        "cpu_ms_by_process": {worker: round(seconds / size * 1000, 2) for worker, seconds in used.items()},
        "advances": len(advances),
        "advance_p50_s": round(statistics.median(advances), 3),
        "advance_p95_s": round(advances[int(len(advances) * 0.95)], 3),
        "default_queue_max_s": max(waited),
        "default_queue_p50_s": statistics.median(waited),
    }
    sys.stdout.write(f"{size} devices: {json.dumps(found)}\n")
    return found


def check(fleet: Fleet, pk: int, size: int) -> None:
    """It is no result unless every device was updated, once."""
    states = dict(fleet.sql("SELECT state, count(*) FROM firmware_update WHERE campaign_id = %s GROUP BY 1", pk))
    refused = fleet.sql("SELECT reason, count(*) FROM telemetry_deadletter GROUP BY 1")
    if states != {"succeeded": size} or refused:
        raise RuntimeError(f"not every device was updated: {states}, refused: {refused}")


def cpu(fleet: Fleet) -> dict[str, float]:
    """CPU time (s) used so far, by process; PostgreSQL's with all its backends, the ended ones too."""
    pids = fleet.run["pids"]
    return {name: _used(psutil.Process(pids[name])) for name in (*WORKERS, "mosquitto", "worker")}


def _used(process: psutil.Process) -> float:
    ended = process.cpu_times()
    alive = [child.cpu_times() for child in process.children(recursive=True)]
    own = [ended.user, ended.system, ended.children_user, ended.children_system]
    return sum(itertools.chain(own, (times.user + times.system for times in alive)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of devices, separated by commas")
    sys.exit(main([int(each) for each in parser.parse_args().sizes.split(",")]))
