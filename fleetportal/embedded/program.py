"""A child process: how it is started, how it is asked to stop, and how it is made to."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from fleetportal.embedded import ports
from fleetportal.embedded.place import Account

PR_SET_PDEATHSIG = 1
LOG_LIMIT = 10 * 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Program:
    """What to run. `grace` is how long (s) it may take to stop before it is made to."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0
    url: str = ""
    ports: Sequence[int] = ()
    """Ports held for it until it starts."""
    descriptors: Sequence[int] = ()
    """Listening sockets it inherits."""
    ready: Callable[[], bool] = lambda: True
    before_start: Callable[[], None] = lambda: None


def spawn(program: Program, log_directory: Path) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, output to its log file. It is asked to stop should the calling thread die."""
    program.before_start()
    ports.release(program.ports)
    parent = os.getpid()

    def die_with_parent() -> None:
        # Runs after the change of user, which would clear the wish.
        _libc.prctl(PR_SET_PDEATHSIG, int(program.stop_signal))
        if os.getppid() != parent:
            os._exit(1)

    log = _open_log(log_path(program, log_directory))
    try:
        return subprocess.Popen(
            list(program.argv),
            env=dict(program.env),
            cwd=program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=program.descriptors,
            preexec_fn=die_with_parent,  # noqa: PLW1509 (this process has one thread)
            **_identity(program.account),
        )
    finally:
        os.close(log)


def run_as(account: Account | None, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
    """Run a command to its end as `account`. Raises RuntimeError with its output when it fails."""
    done = subprocess.run(  # noqa: PLW1510 (the caller wants the output in the error)
        list(argv), env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, **_identity(account)
    )
    if done.returncode:
        raise RuntimeError(f"{Path(argv[0]).name} failed: {(done.stderr or done.stdout).decode(errors='replace')}")


def has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended. If so, what it left behind in its group is killed: a child may hold sockets or a lock."""
    if process.returncode is None:
        # The dead leader keeps the group's id from being given away until it is waited for.
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return True


def stop(running: Sequence[tuple[Program, subprocess.Popen[bytes]]], hurry: Callable[[], bool] = lambda: False) -> None:
    """Ask all of them to stop, then make those that exceed their grace, or all when in a `hurry`."""
    began = time.monotonic()
    # Only the leader is asked: a worker must be able to let its children finish what they do.
    for program, process in running:
        if not has_exited(process):
            process.send_signal(program.stop_signal)
    while remaining := [(program, process) for program, process in running if not has_exited(process)]:
        for program, process in remaining:
            if hurry() or time.monotonic() - began > program.grace:
                os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.02)


@contextmanager
def running(program: Program, log_directory: Path, timeout: float = 30.0) -> Iterator[Program]:
    """Start a server, wait until it is ready (at most `timeout` s), stop it at the end. Raises RuntimeError."""
    process = spawn(program, log_directory)
    try:
        deadline = time.monotonic() + timeout
        while not program.ready():
            if has_exited(process) or time.monotonic() > deadline:
                raise RuntimeError(f"{program.name} did not start:\n{last_lines(program, log_directory)}")
            time.sleep(0.02)
        yield program
    finally:
        stop([(program, process)])


def log_path(program: Program, log_directory: Path) -> Path:
    """The file that takes what the program prints."""
    return log_directory / f"{program.name}.log"


def last_lines(program: Program, log_directory: Path, count: int = 15) -> str:
    """The end of its log."""
    text = log_path(program, log_directory).read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.splitlines()[-count:])


def _identity(account: Account | None) -> _Identity:
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def _open_log(path: Path) -> int:
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
