"""The command line as a user starts it: real processes, a real broker, an enrolment door."""

import asyncio
import signal
import subprocess
import sys

import pytest

from tests.agent.mosquitto import Mosquitto
from tests.agent.town import COUNT, Town, heard, stopped


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
