"""200 browsers watch while 5,000 messages a second come in: how old (ms) is what they see, does anybody lose the line?

180 sockets are device pages, 20 are lists of 25 devices. A reading carries the moment it was sent, so its age is taken
where it arrives, at the browser's end of the socket. A device sends five times a second and is shown four times a
second at most: what is counted is what is shown.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from benchmarks.result import report
from tests.crowd.process import register
from tests.fleet import ROOT, Fleet, folder, running

NAME, DEVICES, RATE = "bench", 1000, 5000
PAGES, LISTS, LISTED = 180, 20, 25
WARM_SECONDS, SECONDS = 5, 30
MUST_MS, AIM_MS = 500, 300
_USER = "acme-owner"


class Watching:
    """What the browsers saw."""

    def __init__(self) -> None:
        self.ages: list[float] = []
        self.disconnects = 0
        self.counting = False
        self.backwards = 0
        """An older reading shown after a newer one."""

    async def watch(self, line: ClientConnection) -> None:
        """One socket, until it is closed or this is cancelled."""
        newest: dict[str, int] = {}
        try:
            async for text in line:
                frame, now = json.loads(text), time.time() * 1000
                for told in frame if isinstance(frame, list) else [frame]:
                    if "reading" not in told:
                        continue
                    device, ts = told["device"], told["reading"]["ts"]
                    self.backwards += ts < newest.get(device, 0)
                    newest[device] = ts
                    if self.counting:
                        self.ages.append(now - ts)
            self.disconnects += 1
        except ConnectionClosed:
            self.disconnects += 1


def main(rate: int, seconds: int) -> int:
    """Calm first, then under load."""
    with folder() as var, running(var, "--no-swarm", "--workers", "1") as fleet:
        place = Path(var).parent / "crowd"
        register(fleet, place, NAME, DEVICES, member=_USER, identities=False)
        figures = {name: asyncio.run(round_of(fleet, each, seconds)) for name, each in (("calm", 100), ("load", rate))}
    load = figures["load"]
    must = load["p95_ms"] <= MUST_MS and not load["disconnects"] and not load["backwards"]
    return report("live", figures, {}, must=must, aim=must and load["p95_ms"] <= AIM_MS)


async def round_of(fleet: Fleet, rate: int, seconds: int) -> dict[str, float]:
    """All sockets open, readings at this rate."""
    watching = Watching()
    url, cookies = fleet.run["http_url"], await sign_in(fleet)
    lines = [await open_socket(url, cookies, wanted) for wanted in what_is_watched()]
    tasks = [asyncio.create_task(watching.watch(line)) for line in lines]
    command = [sys.executable, "-m", "benchmarks.steady", fleet.env()["MQTT_URL"], f"/{NAME}/{NAME}"]
    before = stored(fleet)
    steady = subprocess.Popen([*command, str(DEVICES), str(rate)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        await asyncio.sleep(WARM_SECONDS)
        at, began = await asyncio.to_thread(stored, fleet), time.monotonic()
        watching.counting = True
        await asyncio.sleep(seconds)
        watching.counting, took = False, time.monotonic() - began
        taken = (await asyncio.to_thread(stored, fleet) - at) / took
    finally:
        steady.kill()
        steady.wait()
    for task, line in zip(tasks, lines, strict=True):
        task.cancel()
        await line.close()
    if stored(fleet) == before:
        raise RuntimeError("nothing was stored")
    ages = sorted(watching.ages)
    return {
        "sockets": len(lines),
        "stored_per_s": round(taken),
        "shown_per_s": round(len(ages) / seconds),
        "p50_ms": round(statistics.median(ages)),
        "p95_ms": round(ages[int(len(ages) * 0.95)]),
        "max_ms": round(ages[-1]),
        "disconnects": watching.disconnects,
        "backwards": watching.backwards,
    }


def what_is_watched() -> Iterable[list[str]]:
    """Device pages and lists, chosen by lot, the same in each run."""
    lot = random.Random(7)  # noqa: S311
    for count in [1] * PAGES + [LISTED] * LISTS:
        yield [f"d-{NAME}-{number}" for number in lot.sample(range(DEVICES), count)]


def stored(fleet: Fleet) -> int:
    """Readings in the database."""
    return int(fleet.sql("SELECT count(*) FROM telemetry_reading")[0][0])


async def open_socket(url: str, cookies: str, wanted: list[str]) -> ClientConnection:
    """A socket that watches."""
    address, headers = url.replace("http", "ws") + "/ws/live", {"Cookie": cookies}
    line = await connect(address, origin=Origin(url), additional_headers=headers)
    await line.send(json.dumps({"watch": wanted}))
    return line


async def sign_in(fleet: Fleet) -> str:
    """A customer's cookies."""
    url, user = fleet.run["http_url"], fleet.user(_USER)
    async with httpx.AsyncClient(base_url=url, follow_redirects=True) as browser:
        await browser.get("/sign-in/")
        form = {"username": user["username"], "password": user["password"]}
        form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        await browser.post("/sign-in/", data=form, headers={"Referer": url})
        return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    asked = parser.parse_args()
    sys.exit(main(asked.rate, asked.seconds))
