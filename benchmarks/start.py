"""`make run`, first and second time: from the command to the first live reading in a browser-side socket (s)."""

import asyncio
import json
import re
import statistics
import sys
import time
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from benchmarks.result import report
from tests.fleet import Fleet, folder

ROUNDS = 3
MUST_SECONDS, AIM_SECONDS = 30, 10


def main() -> int:
    """One first start, then several second ones."""
    with folder() as var:
        first = _round(var)
        seconds = [_round(var) for _ in range(ROUNDS)]
    median = statistics.median(seconds)
    figures = {
        "first_s": first,
        "second_s": seconds,
        "median_s": median,
    }
    return report("start", figures, {}, must=median <= MUST_SECONDS, aim=median <= AIM_SECONDS)


def _round(var: Path) -> float:
    began = time.monotonic()
    fleet = Fleet(var)
    try:
        fleet.wait()
        asyncio.run(_first_live_reading(fleet))
        taken = time.monotonic() - began
    finally:
        fleet.stop()
    sys.stdout.write(f"{taken:.1f} s to the first live reading\n")
    return round(taken, 1)


async def _first_live_reading(fleet: Fleet) -> None:
    url, user = fleet.run["http_url"], fleet.user("acme-owner")
    async with httpx.AsyncClient(base_url=url, follow_redirects=True) as browser:
        await browser.get("/sign-in/")
        form = {"username": user["username"], "password": user["password"]}
        form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        page = await browser.post("/sign-in/", data=form, headers={"Referer": url})
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        device_ids = sorted(set(re.findall(r"/devices/(d-[a-z0-9]+)/", page.text)))
    socket = connect(url.replace("http", "ws") + "/ws/live", origin=url, additional_headers={"Cookie": cookies})
    async with socket as live:
        await live.send(json.dumps({"watch": device_ids}))
        async for message in live:
            if '"reading"' in message:
                return


if __name__ == "__main__":
    sys.exit(main())
