"""200,000 QoS 1 messages of 10,000 devices into rows, with publisher, broker, worker and PostgreSQL on the same cores.

A whole portal with one MQTT worker; PostgreSQL with fsync. Before every round the same stream is taken by
`mosquitto_sub -q 1`, the ceiling: what the broker hands out to somebody who does nothing with it. At the end a smaller
one is taken by a paho callback with `Model.objects.create`. A round is no result unless every message is stored, once.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil
import psycopg

from benchmarks.result import report
from tests.crowd.process import register
from tests.fleet import ROOT, Fleet, folder, running

MESSAGES, DEVICES, ROUNDS, NAIVE = 200_000, 10_000, 3, 5_000
WARM_UP = 20_000
MUST_CEILING, AIM_CEILING, MUST_NAIVE = 0.4, 0.7, 10.0
PROCESSES = ("mqtt1", "postgres", "mosquitto")
SETTINGS = {"TENANT_TELEMETRY_PER_MINUTE": str(10**7), "TELEMETRY_PER_MINUTE": str(10**5)}
"""What is measured is the path, not a budget."""
NAME = "ingest"
_PATIENCE = 300.0


def main(messages: int, devices: int, rounds: int, naive: int) -> int:
    """One portal; in turn the portal and the ceiling, then the naive one."""
    with folder() as var, running(var, "--no-swarm", "--workers", "1", **SETTINGS) as fleet:
        register(fleet, var.parent / "rows", NAME, devices, identities=False)
        portal(fleet, WARM_UP, devices)
        runs, ceilings = [], []
        for _ in range(rounds):
            ceilings.append(ceiling(fleet, messages, devices))
            runs.append(portal(fleet, messages, devices))
            sys.stdout.write(f"ceiling {ceilings[-1]:.0f}/s, portal {json.dumps(runs[-1])}\n")
        slow = by_hand(fleet, naive, devices)
    rate = statistics.median(run["rate"] for run in runs)
    top = statistics.median(ceilings)
    ratios = {"of_ceiling": round(rate / top, 2), "of_naive": round(rate / slow, 1)}
    figures: dict[str, Any] = {
        "rate": round(rate),
        "ceiling": round(top),
        "naive": round(slow),
        "rates": [round(run["rate"]) for run in runs],
        "ceilings": [round(each) for each in ceilings],
        "cpu_us": {
            name: round(statistics.median(run["cpu_us"][name] for run in runs), 1) for name in runs[0]["cpu_us"]
        },
    }
    must = ratios["of_ceiling"] >= MUST_CEILING and ratios["of_naive"] >= MUST_NAIVE
    return report("ingest", figures, ratios, must=must, aim=must and ratios["of_ceiling"] >= AIM_CEILING)


def portal(fleet: Fleet, count: int, devices: int, name: str = NAME) -> dict[str, Any]:
    """The stream through the portal: messages a second until the last is stored, and CPU µs a message by process."""
    forget(fleet)
    with stream(fleet, "telemetry", count, devices, name) as publisher:
        used = cpu(fleet)
        told = publisher.pour()
        ended = wait_stored(fleet, count, told["began"])
        spent = {name: (seconds - used[name]) / count * 10**6 for name, seconds in cpu(fleet).items()}
    check(fleet, count)
    spent["publisher"] = told["cpu_s"] / count * 10**6
    return {
        "rate": count / (ended - told["began"]),
        "published_s": round(told["ended"] - told["began"], 2),
        "cpu_us": {name: round(each, 1) for name, each in spent.items()},
    }


def ceiling(fleet: Fleet, count: int, devices: int) -> float:
    """Messages a second that `mosquitto_sub -q 1` takes of the same stream."""
    where = urlsplit(fleet.env()["MQTT_URL"])
    command = [
        shutil.which("mosquitto_sub") or "mosquitto_sub", "-h", str(where.hostname), "-p", str(where.port), "-q", "1",
        "-u", unquote(where.username or ""), "-P", unquote(where.password or ""),
        "-t", f"/{NAME}/{NAME}/+/ceiling", "-C", str(count),
    ]  # fmt: skip
    with stream(fleet, "ceiling", count, devices) as publisher:
        log = Path(fleet.run["log_directory"]) / "mosquitto.log"
        size = log.stat().st_size
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            # It says nothing when it is subscribed; that it is connected stands in the broker's log.
            while b"New client connected" not in log.read_bytes()[size:]:
                time.sleep(0.05)
            time.sleep(0.5)
            began = publisher.pour()["began"]
            process.wait(timeout=_PATIENCE)
            ended = time.time()
    return count / (ended - began)


def by_hand(fleet: Fleet, count: int, devices: int) -> float:
    """Messages a second of the naive way."""
    forget(fleet)
    command = [sys.executable, "-m", "benchmarks.naive", f"/{NAME}/{NAME}", str(count)]
    environment = fleet.env() | {"LOG_LEVEL": "WARNING"}
    with (
        stream(fleet, "naive", count, devices) as publisher,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process,
    ):
        if process.stdout is None or process.stdout.readline() != "subscribed\n":
            raise RuntimeError("the naive way did not start")
        began = publisher.pour()["began"]
        ended: float = json.loads(process.stdout.readline())["ended"]
    check(fleet, count)
    return count / (ended - began)


@contextmanager
def stream(fleet: Fleet, channel: str, count: int, devices: int, name: str = NAME) -> Iterator["Publisher"]:
    """The stream of `devices` devices on a channel, over one connection at the portal's own door of the broker."""
    topic = f"/{name}/{name}/d-{name}-{{}}/{channel}"
    asked = {"url": fleet.env()["MQTT_URL"], "topic": topic, "count": count, "devices": devices}
    with Publisher("benchmarks.stream", asked) as publisher:
        yield publisher


class Publisher:
    """A process that has made its stream and waits for the word."""

    def __init__(self, module: str, asked: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._say(json.dumps(asked))
        if self._process.stdout is None or self._process.stdout.readline() != "made\n":
            raise RuntimeError("no stream was made")

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def pour(self) -> dict[str, float]:
        """Begin; returns what it tells when the broker has acknowledged everything."""
        self._say("go")
        return self.told()

    def told(self) -> dict[str, float]:
        """What it tells next."""
        return dict(json.loads(self._process.stdout.readline() if self._process.stdout else ""))

    def _say(self, line: str) -> None:
        if self._process.stdin:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


def stored(fleet: Fleet) -> int:
    """Readings in the database."""
    found = _connection(fleet.run["database_url"]).execute("SELECT count(*) FROM telemetry_reading").fetchone()
    return int(found[0]) if found else 0


def forget(fleet: Fleet) -> None:
    """Begin each round with an empty table: the rounds are alike, and counting costs little."""
    _connection(fleet.run["database_url"]).execute("TRUNCATE telemetry_reading")


@cache
def _connection(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, autocommit=True)


def wait_stored(fleet: Fleet, count: int, began: float) -> float:
    """Until so many are stored; returns when. Counting costs: it looks when about half of the rest should be done."""
    while (missing := count - stored(fleet)) > 0:
        elapsed = time.time() - began
        if elapsed > _PATIENCE:
            raise RuntimeError(f"{missing} of {count} were not stored")
        rate = max(count - missing, 1000) / elapsed
        time.sleep(min(max(missing / rate / 2, 0.01), 0.25))
    return time.time()


def check(fleet: Fleet, wanted: int) -> None:
    """It is no result unless every message is stored, once, and none is refused."""
    found = fleet.sql("SELECT count(*), count(DISTINCT (device_id, msg_id)) FROM telemetry_reading")[0]
    refused = fleet.sql("SELECT reason, sum(count) FROM telemetry_deadletter GROUP BY 1")
    if found != (wanted, wanted) or refused:
        raise RuntimeError(f"stored {found} of {wanted}, refused {refused}")


def cpu(fleet: Fleet) -> dict[str, float]:
    """CPU time (s) used so far, by process; PostgreSQL's with all its backends, the ended ones too."""
    pids = fleet.run["pids"]
    return {name: _used(psutil.Process(pids[name])) for name in PROCESSES}


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    used = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # ended just now: from here on it counts with its parent
            times = child.cpu_times()
            used += times.user + times.system
    return float(used)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--naive", type=int, default=NAIVE)
    chosen = parser.parse_args()
    sys.exit(main(chosen.messages, chosen.devices, chosen.rounds, chosen.naive))
