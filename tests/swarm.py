"""The agent's swarm in the tester's hand: a process with a ledger of every message it made."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.fleet import ROOT, Fleet


class Swarm:
    """`count` devices of a fleet; started again on the same folder they are the same devices."""

    def __init__(self, fleet: Fleet, folder: Path, count: int, interval: float = 0.5) -> None:
        self.folder, self.ledger, self.output = folder, folder / "ledger.jsonl", folder / "swarm.log"
        folder.mkdir(exist_ok=True)
        self._seen = self.output.stat().st_size if self.output.exists() else 0
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", "swarm", "--run-file", str(fleet.var / "run.json"),
                 "--count", str(count), "--state", str(folder / "state"), "--interval", str(interval),
                 "--ledger", str(self.ledger)],
                cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def made(self) -> set[tuple[str, str]]:
        """Every message made so far, as (device id, message id)."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return {(entry["device_id"], entry["msg_id"]) for entry in map(json.loads, lines)}

    def refused(self) -> int:
        """Connections the broker refused to this process's devices, by the devices' own count."""
        told = re.findall(r"refused connections (\d+)", self.output.read_bytes()[self._seen :].decode())
        return int(told[-1]) if told else 0

    def lose_power(self) -> None:
        """The whole process at once, with nothing said and nothing written."""
        self.process.kill()
        self.process.wait(timeout=30)

    def stop(self) -> None:
        """In good order."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


def stored(fleet: Fleet) -> set[tuple[str, str]]:
    """Every message stored, as (device id, message id)."""
    rows = fleet.sql(
        "SELECT d.device_id, r.msg_id::text FROM telemetry_reading r JOIN devices_device d ON d.id = r.device_id"
    )
    assert len(rows) == len(set(rows)), "a message was stored twice"
    return set(rows)
