"""What pages and lists take (ms) with 100,000 devices and 20 million readings, beside the same with 1,000 devices.

A whole portal with nothing else to do. The past is made in SQL (benchmarks/history.py): one reading a day for half a
year and one an hour for a day, with minutes and hours. First the small fleet, then the large one in the same database
beside it: each is a tenant with an owner of its own. Every page is asked for as a browser would, signed in, one after
the other, each time another device, word or page by lot. What a page takes includes the answer's last byte.
"""

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx

from benchmarks.result import report
from tests.fleet import ROOT, Fleet, folder, running

MUST_MS, MUST_RATIO, AIM_RATIO = 300.0, 2.0, 1.3
_ASKED, _WARM = 40, 3
_DAY = 86400
Page = Callable[["Asking"], str]


class Asking:
    """Somebody signed in who looks at a fleet of so many devices."""

    def __init__(self, fleet: Fleet, username: str, tenant: str, devices: int) -> None:
        self.tenant, self.devices, self.lot = tenant, devices, random.Random(5)  # noqa: S311 (no secret)
        self.browser = httpx.Client(base_url=fleet.run["http_url"], timeout=60, follow_redirects=True)
        self.browser.get("/sign-in/")
        form = {"username": username, "password": fleet.user(username)["password"]}
        form["csrfmiddlewaretoken"] = self.browser.cookies["csrftoken"]
        self.browser.post("/sign-in/", data=form, headers={"Referer": fleet.run["http_url"]}).raise_for_status()
        self._keys: dict[str, str] = {}

    def number(self) -> int:
        """One device by lot."""
        return self.lot.randint(1, self.devices)

    def device(self) -> str:
        """Its id."""
        return f"d-{self.tenant}-{self.number()}"

    def key(self) -> str:
        """A device's primary key: the staff's address of it."""
        name = f"d-{self.tenant}-{1 + self.number() % 5}"
        if name not in self._keys:
            text = self.browser.get("/admin/devices/device/", params={"q": name}).text
            self._keys[name] = re.findall(r"/admin/devices/device/(\d+)/change/", text)[0]
        return self._keys[name]

    def ask(self, page: Page) -> float:
        """How long one look at it takes (ms). Raises for a page that is refused."""
        path = page(self)
        while True:
            began = time.perf_counter()
            answer = self.browser.get(path)
            taken = (time.perf_counter() - began) * 1000
            if answer.status_code != 429:
                answer.raise_for_status()
                return taken
            time.sleep(int(answer.headers["Retry-After"]))  # so many requests a minute for a person


CUSTOMER: dict[str, Page] = {
    "overview": lambda _: "/",
    "list": lambda _: "/devices/",
    "list, a later page": lambda a: f"/devices/?page={a.lot.randint(2, 40)}",
    "list, one word": lambda a: f"/devices/?q=Truck {a.number()}",
    "list, an id": lambda a: f"/devices/?q={a.device()}",
    "list, nothing found": lambda a: f"/devices/?q=nothing-{a.number()}",
    "list, offline": lambda _: "/devices/?state=offline",
    "device": lambda a: f"/devices/{a.device()}/",
    "exports": lambda _: "/exports/",
    "api devices": lambda _: "/api/v1/devices",
    "api devices, searched": lambda a: f"/api/v1/devices?q=Truck {a.number()}",
    "api device": lambda a: f"/api/v1/devices/{a.device()}",
    "api readings": lambda a: f"/api/v1/devices/{a.device()}/readings",
    "api series 24 h": lambda a: f"/api/v1/devices/{a.device()}/series?seconds={_DAY}",
    "api series 30 d": lambda a: f"/api/v1/devices/{a.device()}/series?seconds={30 * _DAY}",
    "api series 1 y": lambda a: f"/api/v1/devices/{a.device()}/series?seconds={365 * _DAY}",
}
STAFF: dict[str, Page] = {
    "admin index": lambda _: "/admin/",
    "admin devices": lambda _: "/admin/devices/device/",
    "admin devices, one word": lambda a: f"/admin/devices/device/?q=Truck {a.number()}",
    "admin devices, an id": lambda a: f"/admin/devices/device/?q={a.device()}",
    "admin devices, online": lambda _: "/admin/devices/device/?presence__online__exact=1",
    "admin device": lambda a: f"/admin/devices/device/{a.key()}/change/",
    "admin certificates": lambda _: "/admin/devices/certificate/",
    "admin presence": lambda _: "/admin/devices/device/?presence__online__exact=0",
    "admin findings": lambda _: "/admin/devices/finding/",
}


def main(small: int, large: int, days: int) -> int:
    """The small fleet, then the large one beside it."""
    with folder() as var, running(var, "--no-swarm", "--workers", "1") as fleet:
        first = round_of(fleet, "small", "acme-owner", small, days)
        second = round_of(fleet, "large", "nordwatt-owner", large, days)
    figures = {name: {"small": first[name], "large": second[name]} for name in first if name != "made"}
    slowest = max(each["large"]["p95_ms"] for each in figures.values())
    ratios = {name: round(each["large"]["p50_ms"] / each["small"]["p50_ms"], 2) for name, each in figures.items()}
    must = slowest <= MUST_MS and max(ratios.values()) <= MUST_RATIO
    made = {"small": first["made"], "large": second["made"], "slowest_p95_ms": slowest}
    aim = must and max(ratios.values()) <= AIM_RATIO
    return report("pages", {"made": made} | figures, ratios, must=must, aim=aim)


def round_of(fleet: Fleet, name: str, owner: str, devices: int, days: int) -> dict[str, Any]:
    """Make a fleet and look at every page of it, as its owner and as staff."""
    found: dict[str, Any] = {"made": fill(fleet, name, owner, devices, days)}
    for username, pages in ((owner, CUSTOMER), ("admin", STAFF)):
        asking = Asking(fleet, username, name, devices)
        with closing(asking.browser):
            for label, page in pages.items():
                for _ in range(_WARM):
                    asking.ask(page)
                taken = sorted(asking.ask(page) for _ in range(_ASKED))
                p95 = taken[int(len(taken) * 0.95)]
                found[label] = {"p50_ms": round(statistics.median(taken), 1), "p95_ms": round(p95, 1)}
                sys.stdout.write(f"{name} {label}: {found[label]}\n")
                sys.stdout.flush()
    return found


def fill(fleet: Fleet, name: str, owner: str, devices: int, days: int) -> dict[str, Any]:
    """The devices `d-<name>-1`… and their past."""
    stretches = [(days, _DAY), (1, 3600)]
    asked = {"name": name, "devices": devices, "stretches": stretches, "minute_days": 7, "owner": owner}
    command = [sys.executable, "-m", "benchmarks.history", json.dumps(asked)]
    environment = fleet.env() | {"LOG_LEVEL": "WARNING"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=180, help="how far back")
    chosen = parser.parse_args()
    sys.exit(main(chosen.small, chosen.large, chosen.days))
