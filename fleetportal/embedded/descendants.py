"""Processes that our children started and left behind: adopt them, and end what an earlier run left."""

import ctypes
import json
import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from fleetportal.embedded.private_files import write_private

PR_SET_CHILD_SUBREAPER = 36
SWEEP_SECONDS = 10.0
LEFTOVER_SECONDS = 5.0


def adopt_orphans() -> None:
    """From now on a process whose parent died becomes our child, so that `sweep` finds it."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans(known: Collection[int]) -> None:
    """Let go of adopted processes that ended, but not of the `known` ones, whose exit code somebody waits for."""
    for pid, stat in _processes():
        if stat.parent == os.getpid() and stat.dead and pid not in known:
            os.waitpid(pid, os.WNOHANG)


def sweep() -> None:
    """Kill and reap every child this process still has. For a process that is about to exit."""
    deadline = time.monotonic() + SWEEP_SECONDS
    while time.monotonic() < deadline:
        for pid, stat in _processes():
            if stat.parent == os.getpid():
                _kill(pid)
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        time.sleep(0.02)


class Stat:
    """What /proc/<pid>/stat says: parent, session, start time (clock ticks since boot), whether it is a zombie."""

    def __init__(self, line: str) -> None:
        fields = line.rpartition(")")[2].split()  # the name before it may hold anything
        self.parent, self.session, self.started = int(fields[1]), int(fields[3]), int(fields[19])
        self.dead = fields[0] == "Z"


def remember(pids: Mapping[str, int], path: Path) -> None:
    """Note the running children, for the next run to end them should we be killed."""
    known = dict(_processes())
    started = {str(pid): known[pid].started for pid in pids.values() if pid in known}
    write_private(path, json.dumps({"boot": _boot(), "started": started}))


def end_leftovers(path: Path) -> None:
    """End what is left of the sessions noted in `path` by a run that was killed itself.

    They were asked to stop when that run died; who has not done so within `LEFTOVER_SECONDS` is killed.
    """
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return
    if note["boot"] != _boot():
        return
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while remaining := _members(note["started"]):
        if time.monotonic() > deadline:
            for pid in remaining:
                _kill(pid)
        time.sleep(0.05)


def _members(started: Mapping[str, int]) -> list[int]:
    """Living processes of the sessions led by the noted processes."""
    known = {pid: stat for pid, stat in _processes() if not stat.dead}
    # A session's id is not given away while a member lives; its leader's start time tells ours from a later one.
    ours = {int(pid) for pid, at in started.items() if int(pid) not in known or known[int(pid)].started == at}
    return [pid for pid, stat in known.items() if stat.session in ours]


def _processes() -> Iterator[tuple[int, Stat]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), Stat((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # gone meanwhile


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
