"""The outermost promises, with small children in place of the servers: no orphan, whatever dies."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleetportal.embedded import descendants, lock
from fleetportal.embedded.place import Place
from tests.embedded.waiting import wait_for

SLEEPER = "import time; time.sleep(600)"
# A supervisor of one child, whose own child has fled into a session of its own.
SUPERVISOR = """
import os, sys
from pathlib import Path
from fleetportal.embedded.descendants import adopt_orphans, remember, sweep
from fleetportal.embedded.program import Program
from fleetportal.embedded.supervisor import Interrupted, Supervisor
import signal

folder = Path(sys.argv[1])
child = '''
import os, signal, subprocess, sys, time
fled = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
near = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("pids.new", "w").write(f"{os.getpid()} {fled.pid} {near.pid}")
os.rename("pids.new", "pids")
time.sleep(600)
'''
adopt_orphans()
supervisor = Supervisor(folder, print)
signal.signal(signal.SIGTERM, supervisor.interrupt)
supervisor.start(Program("child", [sys.executable, "-c", child], os.environ, folder))
remember(supervisor.pids, folder / "children.json")
try:
    while True:
        supervisor.tick()
except Interrupted:
    supervisor.stop()
    sweep()
"""


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _supervise(folder: Path) -> tuple["subprocess.Popen[bytes]", list[int]]:
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(folder)])
    wait_for((folder / "pids").exists)
    return process, [int(pid) for pid in (folder / "pids").read_text().split()]


def test_even_a_process_that_fled_its_session_is_gone_after_a_stop(tmp_path: Path) -> None:
    process, pids = _supervise(tmp_path)
    assert all(_alive(pid) for pid in pids)
    process.terminate()
    assert process.wait(10) == 0
    assert not any(_alive(pid) for pid in pids)


def test_children_of_a_killed_supervisor_are_asked_to_stop_and_the_next_run_ends_the_rest(tmp_path: Path) -> None:
    process, (child, fled, near) = _supervise(tmp_path)
    process.kill()
    process.wait()
    wait_for(lambda: not _alive(child))
    assert _alive(near)
    descendants.end_leftovers(tmp_path / "children.json")
    wait_for(lambda: not _alive(near))
    os.kill(fled, signal.SIGKILL)  # out of reach by its own wish


def test_leftovers_are_told_from_strangers(tmp_path: Path) -> None:
    note = tmp_path / "children.json"
    with subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True) as stranger:
        descendants.remember({"child": stranger.pid}, note)
        content = json.loads(note.read_text())
        content["started"][str(stranger.pid)] -= 1
        note.write_text(json.dumps(content))
        descendants.end_leftovers(note)
        assert _alive(stranger.pid)
        stranger.kill()
    note.write_text(json.dumps({"boot": "another", "started": {str(os.getpid()): 0}}))
    descendants.end_leftovers(note)
    descendants.end_leftovers(tmp_path / "missing")


def test_only_one_run_at_a_time(tmp_path: Path) -> None:
    descriptor = lock.acquire(tmp_path / "run.lock")
    with pytest.raises(lock.AlreadyRunning):
        lock.acquire(tmp_path / "run.lock")
    os.close(descriptor)
    os.close(lock.acquire(tmp_path / "run.lock"))


def test_a_second_run_names_the_first_one(place: Place) -> None:
    lock.acquire(place.var / "run.lock")
    run_file = place.var / "run.json"
    run_file.write_text('{"http_url": "http://127.0.0.1:8765"}')
    command = [sys.executable, "-m", "fleetportal.embedded", "--var", str(place.var)]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "http://127.0.0.1:8765" in second.stdout
    assert run_file.exists()
