"""The demo before the camera: a fleet with devices of all kinds online, a past, and what went wrong in it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fleet import ROOT, Fleet, eventually, folder, running

DEVICES = 40
BENCH = "CL-2026-0481"
"""Hardware id of one whose probe is not plugged in; staged.py knows it, too."""


class Found(Fleet):
    """One that somebody else started, and stops."""

    def __init__(self, var: Path) -> None:
        self.var = var


@contextmanager
def own() -> Iterator[Fleet]:
    """A demo that is there for the pictures only."""
    with folder() as var, running(var, f"--swarm={DEVICES}") as fleet:
        yield fleet


def staged(fleet: Fleet, here: Path) -> dict[str, Any]:
    """Wait for its devices, let one say what is refused, and give them names and a past. Returns `staged.facts`."""
    known = here / "facts.json"
    if known.exists():
        return dict(json.loads(known.read_text()))
    online = "SELECT count(*) FROM devices_presence WHERE online"
    eventually(lambda: fleet.sql(online)[0][0] >= DEVICES, 120, what="devices online")
    bench = fleet.device(here / "bench", BENCH)
    for degrees in (140, 151, 149.5):  # a probe that is not plugged in
        bench.reading(temperature_c=degrees)
    bench.reading(humidity_pct="wet")
    bench.close()
    letters = "SELECT count(*) FROM telemetry_deadletter"
    eventually(lambda: fleet.sql(letters)[0][0] >= 4, 30, what="dead letters")
    done = subprocess.run(
        [sys.executable, "-m", "tests.screens.staged"],
        cwd=ROOT, env=os.environ | fleet.env() | {"LOG_LEVEL": "WARNING"}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    known.write_text(done.stdout.decode().splitlines()[-1])
    return dict(json.loads(known.read_text()))
