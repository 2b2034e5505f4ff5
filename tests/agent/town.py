"""Where a swarm lives that was started as a user starts it: a portal's outside, a broker, real processes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from agent.client import end
from tests.agent.authority import Authority
from tests.agent.mosquitto import Mosquitto
from tests.agent.portal import EnrolmentDoor, Listener

COUNT = 7


class Town:
    """A portal's outside and the folder of a swarm."""

    def __init__(self, folder: Path, authority: Authority, broker: Mosquitto, door: EnrolmentDoor, url: str) -> None:
        self.folder, self.authority, self.door, self.url = folder, authority, door, url
        self.listener, self.ledger_file = Listener(broker.plain_port), folder / "ledger"
        self.publish_port(broker.port)
        self._processes: list[subprocess.Popen[bytes]] = []

    def publish_port(self, port: int, token: str = "claim") -> None:
        """Write the run file."""
        kinds = ("cold-logger", "energy-meter", "pump")
        run = {
            "device_https_url": self.url,
            "mqtt_host": "localhost",
            "mqtt_port": port,
            "ca_file": str(self.authority.root),
            "claims": [{"token": token, "tenant": "acme", "device_type": kind} for kind in kinds],
        }
        (self.folder / "run.json").write_text(json.dumps(run))

    def swarm(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a swarm."""
        files = ("--run-file", f"{self.folder}/run.json", "--ledger", f"{self.ledger_file}")
        size = ("--count", f"{COUNT}", "--interval", "0.1")
        return self.agent("swarm", *files, *size, *options)

    def agent(self, command: str, *options: str) -> subprocess.Popen[bytes]:
        """Start the agent with this town's state directory."""
        line = [sys.executable, "-m", "agent", command, "--state", f"{self.folder}/state", *options]
        self._processes.append(subprocess.Popen(line, stderr=subprocess.PIPE))
        return self._processes[-1]

    def ledger(self) -> set[str]:
        """Message ids of the whole lines of the ledger."""
        text = self.ledger_file.read_text()
        return {json.loads(line)["msg_id"] for line in text.splitlines(keepends=True) if line.endswith("\n")}

    def stored(self) -> set[str]:
        """Message ids the listener settled."""
        return {str(msg_id) for msg_id in self.listener.stored}

    def births(self) -> int:
        """How many births were heard."""
        return sum(word["state"] == "online" for word in self.listener.payloads("status"))

    def born(self) -> set[str]:
        """Devices whose birth was heard."""
        return {topic.device_id for topic, payload, _ in self.listener.messages if b'"online"' in payload}

    def close(self) -> None:
        """End what still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def heard(town: Town, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario while the listener listens."""

    async def whole() -> None:
        ear = asyncio.create_task(town.listener.run())
        await town.listener.ready.wait()
        try:
            await scenario()
        finally:
            await end([ear])

    asyncio.run(whole())


async def stopped(process: subprocess.Popen[bytes]) -> float:
    """SIGTERM; seconds until the exit, which must be a good one."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 10) == 0
    return time.monotonic() - began
