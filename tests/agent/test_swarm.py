"""The command line as a user starts it: real processes, a real broker, an enrolment door."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.link import end
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


@pytest.fixture
def town(tmp_path: Path, authority: Authority, broker: Mosquitto) -> Iterator[Town]:
    door = EnrolmentDoor(authority, broker.port)
    with door.open() as url:
        place = Town(tmp_path, authority, broker, door, url)
        yield place
        place.close()


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


def test_a_swarm_enrols_reports_and_leaves_in_good_order_and_comes_back_as_itself(town: Town) -> None:
    async def scenario() -> None:
        ear = town.listener
        process = town.swarm()
        await ear.until(lambda: len(town.born()) == COUNT and len(ear.stored) > 5 * COUNT)
        assert town.born() == {f"d-sim-{number:05d}" for number in range(1, COUNT + 1)}
        assert {topic.device_type for topic, _, _ in ear.messages} == {"cold-logger", "energy-meter", "pump"}
        assert await stopped(process) < 3
        await ear.until(lambda: sum(word["state"] == "offline" for word in ear.payloads("status")) == COUNT)
        ear.messages.clear()
        process = town.swarm()
        await ear.until(lambda: len(town.born()) == COUNT)
        assert len(town.door.asked) == COUNT
        assert {word["session"] for word in ear.payloads("status")} == {2}
        await stopped(process)

    heard(town, scenario)


def test_after_kills_at_any_time_what_is_stored_is_exactly_what_was_made(town: Town) -> None:
    async def scenario() -> None:
        ear = town.listener
        for _ in range(3):
            process, seen = town.swarm(), len(ear.stored)
            await ear.until(lambda seen=seen: len(ear.stored) > seen + 4 * COUNT)
            process.kill()
            await asyncio.to_thread(process.wait)
        births = town.births()
        process = town.swarm("--interval", "3600")  # hardly says anything new, and delivers what was left
        await ear.until(lambda: town.births() >= births + COUNT and town.ledger() <= town.stored())
        await stopped(process)
        assert town.stored() == town.ledger()

    heard(town, scenario)


def test_a_stop_is_quick_even_beside_a_silent_broker(town: Town, broker: Mosquitto) -> None:
    async def scenario() -> None:
        process = town.swarm()
        await town.listener.until(lambda: len(town.born()) == COUNT)
        assert broker.process is not None
        broker.process.send_signal(signal.SIGSTOP)
        assert await stopped(process) < 3.5

    heard(town, scenario)


def test_a_full_outbox_drops_its_oldest_and_says_so(town: Town) -> None:
    async def scenario() -> None:
        town.listener.settles = False
        process = town.swarm("--max-outbox", "5")
        await town.listener.until(lambda: town.listener.payloads("event"))
        event = town.listener.payloads("event")[0]
        assert event["kind"] == "outbox_dropped"
        assert event["dropped"] > 0
        await stopped(process)

    heard(town, scenario)


def test_one_device_goes_where_its_enrolment_sends_it(town: Town) -> None:
    async def scenario() -> None:
        where = ("--server", town.url, "--ca", str(town.authority.root), "--claim", "claim")
        process = town.agent("run", *where, "--device-type", "pump", "--hardware-id", "p-1", "--interval", "0.1")
        await town.listener.until(lambda: len(town.listener.stored) > 3)
        assert town.born() == {"d-p-1"}
        await stopped(process)

    heard(town, scenario)


def test_a_refused_claim_ends_with_a_clear_word(town: Town) -> None:
    town.publish_port(1, token="wrong")
    process = town.swarm()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"sim-00001 cannot begin: claim_unknown: no such claim" in said


@pytest.mark.parametrize(
    "content", ["", "{}", '{"device_https_url":"","mqtt_host":"","mqtt_port":1,"ca_file":"","claims":[]}']
)
def test_a_bad_run_file_is_named(town: Town, content: str) -> None:
    (town.folder / "run.json").write_text(content)
    process = town.swarm()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert b"cannot start" in said


def test_a_stop_during_enrolment_is_quick(town: Town) -> None:
    async def scenario() -> None:
        town.door.script.extend([(202, {"Retry-After": "60"}, {})] * COUNT)
        process = town.swarm()
        while len(town.door.asked) < COUNT:
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 3) == 1

    heard(town, scenario)


FLOODED = """
import asyncio, os, signal, sys
from agent import __main__ as agent

async def run(swarm):
    loop = asyncio.get_running_loop()
    for _ in range(5000):
        loop.call_soon_threadsafe(int)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(swarm._stop.wait(), 5)
    return True

agent.Swarm.run = run
sys.exit(agent.main(sys.argv[1:]))
"""


def test_a_signal_is_heard_while_a_thousand_sockets_wake_the_loop(town: Town) -> None:
    line = ("swarm", "--run-file", f"{town.folder}/run.json", "--state", f"{town.folder}/state")
    assert subprocess.run([sys.executable, "-c", FLOODED, *line], check=False).returncode == 0


def test_the_agent_carries_no_django() -> None:
    code = "import agent.__main__, sys; sys.exit('django' in sys.modules or 'celery' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
