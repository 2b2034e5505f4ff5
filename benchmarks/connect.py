"""10,000 devices connect by mutual TLS as fast as they can: when are all connected, and what does it take?

One process plays all devices, on the same cores. Each sends its birth, with the proof of its certificate, and has a
retained last will. Connected: the broker accepted them all. Online: the portal judged every birth.
"""

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.result import report
from tests.crowd.process import Crowd
from tests.fleet import Fleet, eventually, folder, running

DEVICES = 10_000
MUST_SECONDS, AIM_SECONDS, MUST_BYTES = 60.0, 30.0, 2 * 1024**3
_ONLINE = "SELECT count(*) FROM devices_presence WHERE online AND changed_at > %s"
_PORTAL_AND_BROKER = {"mosquitto", "web", "device-https", "mqtt1", "worker", "rollout", "jobs", "urgent", "beat"}


def main(devices: int) -> int:
    """Once from nothing, once again after the broker was killed."""
    with folder() as var, running(var, "--no-swarm", "--workers", "1") as fleet:
        calm = memory(fleet)
        began = time.monotonic()
        crowd = Crowd(fleet, Path(var).parent / "crowd", devices)
        try:
            connecting, since = time.monotonic(), now(fleet)
            figures: dict[str, Any] = {"devices": devices, "registered_s": round(connecting - began, 1)}
            figures |= connected(fleet, crowd, devices, connecting, since)
            full = memory(fleet)
            at, since = time.monotonic(), now(fleet)
            fleet.wait_restarted("mosquitto", fleet.kill("mosquitto"))
            eventually(lambda: crowd.said["connected"] < devices, 30, what="the crowd noticed")
            again = connected(fleet, crowd, devices, at, since)
            figures |= {f"again_{name}": seconds for name, seconds in again.items()}
            full = max(full, memory(fleet), key=lambda each: each["total"])
        finally:
            crowd.stop()
    figures |= {"memory_calm_mib": calm, "memory_full_mib": full}
    slowest = max(figures["connected_s"], figures["again_connected_s"])
    must = slowest <= MUST_SECONDS and full["total"] * 1024**2 <= MUST_BYTES
    return report("connect", figures, {}, must=must, aim=must and slowest <= AIM_SECONDS)


def now(fleet: Fleet) -> datetime:
    """The database's clock."""
    moment: datetime = fleet.sql("SELECT now()")[0][0]
    return moment


def connected(fleet: Fleet, crowd: Crowd, devices: int, began: float, since: datetime) -> dict[str, float]:
    """How long (s) it took until the broker had all of them, and until the portal had judged all births."""
    crowd.wait(devices, 300)
    accepted = time.monotonic() - began
    eventually(lambda: fleet.sql(_ONLINE, since)[0][0] >= devices, 300, every=0.2, what="all online in the portal")
    return {"connected_s": round(accepted, 1), "online_s": round(time.monotonic() - began, 1)}


def memory(fleet: Fleet) -> dict[str, int]:
    """MiB by process (proportional share), of broker and portal; children count with their parents."""
    found = {}
    for name, pid in fleet.run["pids"].items():
        if name in _PORTAL_AND_BROKER:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            found[name] = round(sum(each.memory_full_info().pss for each in family) / 1024**2)
    return found | {"total": sum(found.values())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=DEVICES)
    sys.exit(main(parser.parse_args().devices))
