"""`make run` from the outside: one at a time, until asked to stop, and nothing left afterwards."""

import json
import resource
import signal
import time
from pathlib import Path

from fleetportal.embedded import console, lock, place
from fleetportal.embedded.demo import Options, start
from fleetportal.embedded.descendants import adopt_orphans, end_leftovers, remember, sweep
from fleetportal.embedded.run_file import RunFile
from fleetportal.embedded.supervisor import Interrupted, Supervisor


def run(options: Options) -> int:
    """Start everything, keep it running until asked to stop, stop everything. Returns the exit code."""
    where = place.find(options.var)
    run_file = RunFile(where.var / "run.json")
    try:
        lock.acquire(where.var / "run.lock")
    except lock.AlreadyRunning:
        console.say(f"Fleetportal runs already in {where.var}: {_address(run_file.path)}")
        return 1
    children_file = where.var / "children.json"
    end_leftovers(children_file)
    run_file.remove()

    def note_pids() -> None:
        remember(supervisor.pids, children_file)
        run_file.note_pids(supervisor.pids)

    supervisor = Supervisor(where.own_folder("log"), console.warn, note_pids)
    _prepare_this_process(supervisor)
    try:
        start(where, options, supervisor, run_file)
        while True:
            supervisor.tick()
    except Interrupted:
        return 0
    except console.StepFailed as error:
        console.say(f"\nFleetportal could not start. {error}", console.RED)
        return 1
    finally:
        console.say("\nStopping (Ctrl-C again to hurry) ...")
        began = time.monotonic()
        supervisor.stop()
        sweep()
        run_file.remove()
        console.say(f"Stopped in {time.monotonic() - began:.1f} s. The data stays in {where.servers}")


def _prepare_this_process(supervisor: Supervisor) -> None:
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, supervisor.interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup sets it
        signal.signal(signal.SIGHUP, supervisor.interrupt)
    adopt_orphans()
    # A large swarm needs a socket a device, at both ends.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _address(run_file: Path) -> str:
    try:
        return str(json.loads(run_file.read_text(encoding="utf-8"))["http_url"])
    except FileNotFoundError:
        return "it is still starting, or stopping."
