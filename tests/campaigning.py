"""A campaign over registry devices, worked from outside of the portal: its rows, its start, who waits meanwhile."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fleet import ROOT, Fleet


def prepare(fleet: Fleet, name: str, count: int, percents: list[int], **fields: Any) -> dict[str, Any]:
    """`count` devices and a campaign for them that only has to be started. `fields`: columns of it.

    Returns its pk (`campaign`), the devices' topics (`prefix`) and how long it took (`made_s`).
    """
    return _registry(fleet, {"name": name, "count": count, "percents": percents, "verify_s": 1, "fields": fields})


def start(fleet: Fleet, campaign: int) -> float:
    """Start it. Returns how long (s) writing every device's row took."""
    return float(_registry(fleet, {"start": campaign})["planned_s"])


def state(fleet: Fleet, campaign: int) -> str:
    """Where it is."""
    return str(fleet.sql("SELECT state FROM firmware_campaign WHERE id = %s", campaign)[0][0])


@contextmanager
def probe(fleet: Fleet) -> Iterator[list[float]]:
    """How long tasks of the default queue waited (s) while this was open."""
    command = [sys.executable, "-m", "tests.probing"]
    waited: list[float] = []
    with subprocess.Popen(
        command, cwd=ROOT, env=_env(fleet), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None or process.stdin is None:
            raise RuntimeError("no pipes")
        lines = process.stdout
        next(lines)  # the first one waits for connections
        reader = threading.Thread(target=lambda: waited.extend(float(line) for line in lines))
        reader.start()
        try:
            yield waited
        finally:
            process.stdin.close()
            reader.join()


def _registry(fleet: Fleet, asked: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.registry", json.dumps(asked)]
    done = subprocess.run(command, cwd=ROOT, env=_env(fleet), stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _env(fleet: Fleet) -> dict[str, str]:
    return fleet.env() | {"LOG_LEVEL": "WARNING"}
