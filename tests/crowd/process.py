"""The crowd in the tester's hand: a process with a ledger of every reading it made."""

import json
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.fleet import ROOT, Fleet, eventually


def register(fleet: Fleet, folder: Path, name: str, count: int, **more: Any) -> float:
    """Make devices (registry.py) in the portal's database. Returns how long it took (s)."""
    folder.mkdir(exist_ok=True)
    asked = json.dumps({"name": name, "count": count, "folder": str(folder), **more})
    environment = fleet.env() | {"LOG_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "tests.crowd.registry", asked]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout)["made_s"])


class Crowd:
    """`count` devices of a fleet, in a process of their own that begins to connect at once."""

    def __init__(self, fleet: Fleet, folder: Path, count: int, rate: float = 0, name: str = "crowd") -> None:
        """`rate`: readings a second, all devices together."""
        self.ledger = folder / "ledger"
        register(fleet, folder, name, count)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        command = [sys.executable, "-m", "tests.crowd", str(folder), "--ca", fleet.run["ca_file"]]
        command += ["--rate", str(rate), "--ledger", str(self.ledger)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said: dict[str, Any] = {"connected": 0, "made": 0, "unsettled": 0, "refused": 0, "t": 0.0}
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said = json.loads(line)

    def wait(self, count: int, seconds: float = 120) -> None:
        """Until so many are connected."""
        eventually(lambda: self._alive() and self.said["connected"] >= count, seconds, what=f"{count} connected")

    def quiet(self, seconds: float = 180) -> None:
        """Make no more; wait until every reading is settled."""
        assert self.process.stdin
        self.process.stdin.write("enough\n")
        self.process.stdin.flush()
        seen = self.said["t"]
        eventually(lambda: self.said["t"] > seen + 1, 10)
        eventually(lambda: self._alive() and self.said["unsettled"] == 0, seconds, what=f"all settled: {self.said}")

    def made(self) -> set[tuple[str, str]]:
        """Every reading made so far, as (device id, message id)."""
        lines = (line.split() for line in self.ledger.read_text().splitlines())
        return {(device_id, msg_id) for device_id, msg_id in lines}

    def _alive(self) -> bool:
        assert self.process.poll() is None, "the crowd ended"
        return True

    def stop(self) -> None:
        """All of them at once."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
