"""Keeps programs running: starts them in waves, restarts what dies, stops the waves in reverse order.

One thread, one loop: everything that waits calls `tick`, which raises `Interrupted` once a stop was asked for.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleetportal.embedded.descendants import reap_orphans
from fleetportal.embedded.program import Program, has_exited, last_lines, log_path, spawn, stop

TICK = 0.1
FIRST_DELAY, LONGEST_DELAY = 0.2, 10.0
STABLE_SECONDS = 60.0
PATIENCE = 3
"""How often a program may die before it was ready, until starting counts as failed."""


class Interrupted(Exception):
    """Somebody asked us to stop."""


class StartFailed(Exception):
    """A program did not come up; the message ends with the end of its log."""


@dataclass
class Child:
    """A program we keep running. Times are of the monotonic clock (s)."""

    program: Program
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    delay: float = FIRST_DELAY
    due: float | None = None
    wanted: bool = field(default=False)
    """The coming death was ordered by `Supervisor.restart`: no backoff, no alarm."""


class Supervisor:
    """The children, in waves. `say` prints a line; `changed` is called whenever a process id changed."""

    def __init__(
        self, log_directory: Path, say: Callable[[str], None], changed: Callable[[], None] = lambda: None
    ) -> None:
        self.log_directory = log_directory
        self.watches: list[Callable[[], None]] = []
        self.interrupts = 0
        self._say = say
        self._changed = changed
        self._waves: list[list[Child]] = []
        self._passing: list[int] = []

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the running children by name."""
        return {child.program.name: child.process.pid for child in self._children() if child.due is None}

    def interrupt(self, *_: object) -> None:
        """Ask for a stop; a second time, for a stop without grace. Fit as a signal handler."""
        self.interrupts += 1

    def start(self, *programs: Program) -> None:
        """Start a wave: programs that are stopped together, before all that were started earlier."""
        wave: list[Child] = []
        self._waves.append(wave)
        for program in programs:
            wave.append(Child(program, spawn(program, self.log_directory), time.monotonic()))
            self._changed()

    def wait_until_ready(self, timeout: float) -> None:
        """Wait (at most `timeout` s) for the programs of the last wave. Raises StartFailed."""
        for child in self._waves[-1]:
            self.wait_until(child.program.ready, timeout, [child.program.name])

    def wait_until(self, condition: Callable[[], bool], timeout: float, suspects: Sequence[str]) -> None:
        """Wait for a condition. Raises StartFailed, naming a suspect, on `timeout` (s) or when one keeps dying."""
        deadline = time.monotonic() + timeout
        while not condition():
            self.tick()
            dying = [child for child in self._named(suspects) if child.deaths >= PATIENCE]
            if dying:
                raise StartFailed(self._obituary(dying[0].program, "keeps dying"))
            if time.monotonic() > deadline:
                raise StartFailed(self._obituary(self._named(suspects)[0].program, f"not ready after {timeout:.0f} s"))

    def run(self, program: Program, timeout: float) -> None:
        """Run a program to its end. Raises StartFailed unless it ends well within `timeout` (s)."""
        process = spawn(program, self.log_directory)
        self._passing = [process.pid]
        deadline = time.monotonic() + timeout
        try:
            while not has_exited(process):
                if time.monotonic() > deadline:
                    raise StartFailed(self._obituary(program, f"not done after {timeout:.0f} s"))
                self.tick(0.02)
        finally:
            stop([(program, process)], hurry=lambda: self.interrupts > 1)
        if process.returncode:
            raise StartFailed(self._obituary(program, f"failed ({process.returncode})"))

    def restart(self, name: str) -> None:
        """Ask a child to stop; it is started again as soon as it has."""
        for child in self._named([name]):
            child.wanted = True
            self.signal(name, child.program.stop_signal)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a child, if it runs."""
        for child in self._named([name]):
            if not has_exited(child.process):
                child.process.send_signal(number)

    def tick(self, seconds: float = TICK) -> None:
        """Let `seconds` pass, then look after every child and watch once. Raises Interrupted."""
        time.sleep(seconds)
        if self.interrupts:
            raise Interrupted
        for child in self._children():
            self._look_after(child)
        for watch in self.watches:
            watch()
        reap_orphans([child.process.pid for child in self._children()] + self._passing)

    def stop(self) -> None:
        """Stop everything, the last wave first. Nothing is left running."""
        while self._waves:
            wave = self._waves.pop()
            stop([(child.program, child.process) for child in wave], hurry=lambda: self.interrupts > 1)

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.due is None:
            if not has_exited(child.process):
                return
            if now - child.started > STABLE_SECONDS:
                child.delay, child.deaths = FIRST_DELAY, 0
            if child.wanted:
                child.due, child.wanted = now, False
            else:
                child.due = now + child.delay
                child.deaths += 1
                reason = _reason(child.process.returncode)
                self._say(f"{child.program.name} died ({reason}): starting it again in {child.delay:.1f} s")
                child.delay = min(child.delay * 2, LONGEST_DELAY)
        if now >= child.due:
            child.process = spawn(child.program, self.log_directory)
            child.started, child.due = now, None
            self._changed()

    def _children(self) -> list[Child]:
        return [child for wave in self._waves for child in wave]

    def _named(self, names: Sequence[str]) -> list[Child]:
        return [child for child in self._children() if child.program.name in names]

    def _obituary(self, program: Program, what: str) -> str:
        path = log_path(program, self.log_directory)
        return f"{program.name} {what}. The end of {path}:\n\n{last_lines(program, self.log_directory)}"


def _reason(returncode: int | None) -> str:
    return f"signal {-returncode}" if returncode is not None and returncode < 0 else f"exit code {returncode}"
