import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetportal.embedded.program import Program, log_path
from fleetportal.embedded.supervisor import PATIENCE, Interrupted, StartFailed, Supervisor
from tests.embedded.waiting import wait_for

# Says it is there, and sleeps with a child of its own that ignores being asked to stop.
FAMILY = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
print("ready", flush=True)
time.sleep(600)
"""
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
LAST_WORDS = """
import signal, time
def stop(*_):
    time.sleep(0.3)
    open("last_words", "a").write("{name} ")
    raise SystemExit
signal.signal(15, stop)
print("ready", flush=True)
time.sleep(600)
"""


class Lines(list[str]):
    """What the supervisor said."""


@pytest.fixture
def said() -> Lines:
    return Lines()


@pytest.fixture
def supervisor(tmp_path: Path, said: Lines) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path, said.append)
    yield made
    made.interrupts = 2
    made.stop()


def _program(code: str, folder: Path, name: str = "child", grace: float = 10.0) -> Program:
    log = folder / f"{name}.log"
    argv = [sys.executable, "-c", code]
    return Program(name, argv, os.environ, folder, grace=grace, ready=lambda: "ready" in log.read_text())


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _group(leader: int) -> list[int]:
    """Living processes of the session led by `leader`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getsid(int(entry.name)) == leader and _alive(int(entry.name)):
                found.append(int(entry.name))
        except ProcessLookupError:
            continue
    return found


def test_a_killed_child_is_started_again(supervisor: Supervisor, tmp_path: Path, said: Lines) -> None:
    supervisor.start(_program(FAMILY, tmp_path))
    supervisor.wait_until_ready(10)
    first = supervisor.pids["child"]
    wait_for(lambda: len(_group(first)) == 2)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: supervisor.pids.get("child", first) != first, between=supervisor.tick)
    assert said == ["child died (signal 9): starting it again in 0.2 s"]
    wait_for(lambda: _group(first) == [])  # what it left behind would hold its sockets


def test_delays_double_up_to_a_limit(supervisor: Supervisor, tmp_path: Path, said: Lines) -> None:
    supervisor.start(_program("raise SystemExit(7)", tmp_path))
    wait_for(lambda: len(said) >= 3, between=supervisor.tick)
    assert [line.split(" ", 1)[1] for line in said[:3]] == [
        f"died (exit code 7): starting it again in {delay} s" for delay in (0.2, 0.4, 0.8)
    ]


def test_delay_starts_over_after_a_stable_minute(
    supervisor: Supervisor, tmp_path: Path, said: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetportal.embedded.supervisor.STABLE_SECONDS", 0.0)
    supervisor.start(_program("raise SystemExit(7)", tmp_path))
    wait_for(lambda: len(said) >= 2, between=supervisor.tick)
    assert said[0] == said[1]


def test_pids_are_announced(tmp_path: Path) -> None:
    announced: list[dict[str, int]] = []
    made = Supervisor(tmp_path, lambda _: None, lambda: announced.append(made.pids))
    made.start(_program(FAMILY, tmp_path))
    made.wait_until_ready(10)
    os.kill(made.pids["child"], signal.SIGKILL)
    wait_for(lambda: len(announced) == 2, between=made.tick)
    assert announced[1] == made.pids
    made.stop()


def test_stop_leaves_no_process(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(_program(FAMILY, tmp_path))
    supervisor.wait_until_ready(10)
    leader = supervisor.pids["child"]
    wait_for(lambda: len(_group(leader)) == 2)
    supervisor.stop()
    wait_for(lambda: _group(leader) == [])
    assert supervisor.pids == {}


def test_stops_the_last_wave_first(supervisor: Supervisor, tmp_path: Path) -> None:
    for name in "first", "second":
        supervisor.start(_program(LAST_WORDS.format(name=name), tmp_path, name))
        supervisor.wait_until_ready(10)
    supervisor.stop()
    assert (tmp_path / "last_words").read_text().split() == ["second", "first"]


def test_a_child_that_will_not_stop_is_killed_after_its_grace(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(_program(STUBBORN, tmp_path, grace=0.2))
    supervisor.wait_until_ready(10)
    pid = supervisor.pids["child"]
    supervisor.stop()
    assert not _alive(pid)


def test_a_second_interrupt_hurries(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(_program(STUBBORN, tmp_path, grace=600))
    supervisor.wait_until_ready(10)
    supervisor.interrupt()
    with pytest.raises(Interrupted):
        supervisor.tick()
    supervisor.interrupt()
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < 5


def test_a_child_that_keeps_dying_fails_the_start(supervisor: Supervisor, tmp_path: Path, said: Lines) -> None:
    supervisor.start(_program("print('the reason'); raise SystemExit(1)", tmp_path))
    with pytest.raises(StartFailed, match=r"(?s)child keeps dying.*child\.log.*the reason"):
        supervisor.wait_until_ready(30)
    assert len(said) == PATIENCE


def test_a_child_that_never_gets_ready_fails_the_start(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(_program("import time; time.sleep(600)", tmp_path))
    with pytest.raises(StartFailed, match="child not ready"):
        supervisor.wait_until_ready(0.3)


def test_runs_a_program_to_its_end(supervisor: Supervisor, tmp_path: Path) -> None:
    program = _program("print('done')", tmp_path)
    supervisor.run(program, 10)
    assert log_path(program, tmp_path).read_text() == "done\n"
    with pytest.raises(StartFailed, match=r"(?s)failed \(3\).*broken"):
        supervisor.run(_program("print('broken'); raise SystemExit(3)", tmp_path), 10)
    with pytest.raises(StartFailed, match="not done"):
        supervisor.run(_program("import time; time.sleep(600)", tmp_path), 0.3)


def test_an_ordered_restart_is_no_alarm(supervisor: Supervisor, tmp_path: Path, said: Lines) -> None:
    supervisor.start(_program(LAST_WORDS, tmp_path))
    supervisor.wait_until_ready(10)
    first = supervisor.pids["child"]
    supervisor.restart("child")
    wait_for(lambda: supervisor.pids.get("child", first) != first, between=supervisor.tick)
    assert said == []
