"""What the demo does when something dies, and when it is told to stop."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.fleet import ROOT, Fleet, eventually, folder

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("fleet"), pytest.mark.timeout(300)]
_SLOTS = "SELECT objid, pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 19794 AND granted ORDER BY objid"


def test_a_second_worker_shares_the_load_and_its_slots_are_adopted_when_it_dies_for_good(fleet, device):
    def holders():
        return dict(fleet.sql(_SLOTS))

    eventually(lambda: len(holders()) == 3, what="control and two ingest slots")
    options = ["--mqtt", "--pool=solo", "-Qmqtt", "-nextra@%h"]
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "fleetportal", "worker", *options],
        cwd=ROOT, env=fleet.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        shared = eventually(lambda: len(set((held := holders()).values())) == 2 and held, what="two workers with slots")
        sent = [device.reading(temperature_c=each) for each in range(20)]
        assert shared[1] != shared[2]
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    began = time.monotonic()
    eventually(lambda: len(holders()) == 3 and len(set(holders().values())) == 1, seconds=10, what="adoption")
    print(f"adopted after {time.monotonic() - began:.2f} s")
    sent += [device.reading(temperature_c=each) for each in range(20)]
    query = "SELECT count(*), count(DISTINCT msg_id) FROM telemetry_reading WHERE msg_id = ANY(%s::uuid[])"
    eventually(lambda: fleet.sql(query, sent) == [(40, 40)], what="every message, once")


def test_a_killed_process_is_started_again(fleet):
    for name in ("mqtt1", "web"):
        fleet.wait_restarted(name, fleet.kill(name))
    fleet.wait_ready()


@pytest.fixture
def var():
    with folder() as var:
        yield var


def test_stopping_leaves_no_process_and_a_second_start_keeps_the_data(var):
    first = Fleet(var, "--swarm", "2").wait()
    family = [psutil.Process(first.process.pid), *psutil.Process(first.process.pid).children(recursive=True)]
    stored = eventually(lambda: first.sql("SELECT count(*) FROM telemetry_reading")[0][0])
    devices = first.sql("SELECT device_id FROM devices_device ORDER BY 1")
    other = Fleet(var)
    assert other.process.wait(timeout=30) == 1
    assert first.run["http_url"] in other.output.read_text()
    first.stop()
    assert first.process.returncode == 0
    assert [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    began = time.monotonic()
    second = Fleet(var, "--swarm", "2").wait()
    try:
        print(f"second start: {time.monotonic() - began:.1f} s")
        assert time.monotonic() - began <= 30
        assert second.sql("SELECT device_id FROM devices_device ORDER BY 1") == devices
        assert second.sql("SELECT count(*) FROM telemetry_reading")[0][0] >= stored
    finally:
        second.stop()
