"""2,000 readings a second from devices that keep each until it is settled, while what takes them in is hurt."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.crowd.process import Crowd
from tests.fleet import ROOT, Fleet, eventually, folder, running
from tests.swarm import stored

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1500)]
DEVICES, RATE = 500, 2000
MOST_MIB = 500
"""What an MQTT worker may take, at most."""


@pytest.fixture
def fleet():
    """A portal with one MQTT worker and two slots."""
    with folder() as var, running(var, "--no-swarm", "--workers", "1") as fleet:
        yield fleet


@contextmanager
def crowd_of(fleet: Fleet, tmp_path: Path, rate: int = RATE) -> Iterator[Crowd]:
    crowd = Crowd(fleet, tmp_path / "crowd", DEVICES, rate)
    try:
        crowd.wait(DEVICES)
        yield crowd
    finally:
        crowd.stop()


@contextmanager
def memory_of(fleet: Fleet, name: str) -> Iterator[list[float]]:
    """MiB a process takes while this is open, whichever process has the name."""
    seen: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.25):
            try:
                seen.append(psutil.Process(fleet.run["pids"][name]).memory_info().rss / 1024**2)
            except (psutil.Error, KeyError, ValueError):
                continue  # it is dead just now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def unsettled(crowd: Crowd) -> int:
    return int(crowd.said["unsettled"])


def check(fleet: Fleet, crowd: Crowd) -> None:
    """What was sent is what is stored, once."""
    crowd.quiet()
    made = crowd.made()
    eventually(lambda: len(stored(fleet)) >= len(made), 60, every=1, what="stored = sent")
    assert stored(fleet) == made
    assert crowd.said["refused"] == 0
    assert fleet.sql("SELECT count(*) FROM telemetry_deadletter") == [(0,)]
    print(f"{len(made)} readings: stored = sent, none twice")


def test_stored_equals_sent_however_often_everything_is_killed(fleet, tmp_path):
    lot = random.Random(11)
    victims = ["mqtt1"] * 6 + ["postgres"] * 2 + ["valkey"] * 2 + ["mosquitto"] * 2
    lot.shuffle(victims)
    with crowd_of(fleet, tmp_path) as crowd, memory_of(fleet, "mqtt1") as taken:
        began, made = time.monotonic(), crowd.said["made"]
        for victim in victims:
            time.sleep(lot.uniform(1, 4))  # work in between, of any length: there is nothing to wait for
            fleet.wait_restarted(victim, fleet.kill(victim))
        fleet.wait_ready(90)
        rate = (crowd.said["made"] - made) / (time.monotonic() - began)
        print(f"{len(victims)} kills at {rate:.0f} readings a second; worker at most {max(taken):.0f} MiB")
        assert rate > RATE * 0.95
        check(fleet, crowd)
        assert max(taken) < MOST_MIB


def test_a_database_that_is_away_for_a_minute_and_then_slow_leaves_a_backlog_that_drains(fleet, tmp_path):
    with crowd_of(fleet, tmp_path) as crowd, memory_of(fleet, "mqtt1") as taken:
        eventually(lambda: crowd.said["made"] > 5 * RATE, 60)
        calm = unsettled(crowd)
        session = psutil.Process(fleet.run["pids"]["mqtt1"])
        with frozen(fleet):
            time.sleep(60)  # the outage itself
            behind = unsettled(crowd)
        for _ in range(100):  # slow: half of the time
            with frozen(fleet):
                time.sleep(0.05)
            time.sleep(0.05)
        back = time.monotonic()
        assert behind > 50 * RATE
        eventually(lambda: unsettled(crowd) < max(2 * calm, 4 * RATE), 300, what=f"drained: {crowd.said}")
        print(
            f"after 60 s {behind} unsettled, {time.monotonic() - back:.0f} s later {unsettled(crowd)} at"
            f" {RATE} a second; worker at most {max(taken):.0f} MiB"
        )
        check(fleet, crowd)
        assert max(taken) < MOST_MIB
        assert session.is_running(), "the worker did not live through it"
        assert fleet.run["pids"]["mqtt1"] == session.pid


@contextmanager
def frozen(fleet: Fleet) -> Iterator[None]:
    """PostgreSQL stands still, with all its connections."""
    server = psutil.Process(fleet.run["pids"]["postgres"])
    family = [server, *server.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            if process.is_running():
                process.resume()


def test_a_second_worker_may_come_and_be_killed_for_good_under_load(fleet, tmp_path):
    with crowd_of(fleet, tmp_path) as crowd:
        came = extra_worker(fleet, tmp_path)
        try:
            eventually(lambda: holders(fleet) == 2, 60, what="the second worker has a slot")
            eventually(lambda made=crowd.said["made"]: crowd.said["made"] > made + 5 * RATE, 60)
        finally:
            os.killpg(came.pid, signal.SIGKILL)
            came.wait()
        at = time.monotonic()
        eventually(lambda: holders(fleet) == 1 and slots(fleet) == 3, 30, what="the first worker has all slots")
        print(f"its slot was adopted after {time.monotonic() - at:.1f} s")
        eventually(lambda made=crowd.said["made"]: crowd.said["made"] > made + 5 * RATE, 60)
        check(fleet, crowd)


def extra_worker(fleet: Fleet, tmp_path: Path) -> subprocess.Popen[bytes]:
    """One more MQTT worker, which nobody starts again."""
    command = [sys.executable, "-m", "celery", "-A", "fleetportal", "worker", "--mqtt", "--pool=solo", "-Qmqtt"]
    with (tmp_path / "extra.log").open("wb") as log:
        return subprocess.Popen(
            [*command, "-nextra@%h"], cwd=ROOT, env=fleet.env(), stdout=log, stderr=log, start_new_session=True
        )


_HELD = "SELECT count(*), count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 19794 AND granted"


def slots(fleet: Fleet) -> int:
    """How many slots are held, the control slot included."""
    return int(held(fleet)[0])


def holders(fleet: Fleet) -> int:
    """By how many workers."""
    return int(held(fleet)[1])


def held(fleet: Fleet) -> tuple[int, int]:
    try:
        return fleet.sql(_HELD)[0]
    except psycopg.OperationalError:
        return 0, 0
