"""A year of 1,000 devices on one chart: what the API needs for 24 hours, 30 days and a year (ms).

A whole portal with nothing else to do. The past is made in SQL (benchmarks/history.py): one reading an hour for a year,
one in five minutes for a week, one a minute for two days, minutes and hours of all of it. Then a customer asks for
charts of devices chosen by chance, one after the other: right after a restart of PostgreSQL, so that nothing is in its
own memory (the kernel's cache may still hold it), and once more. Beside it, the least that an answer of the API takes.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

import httpx

from benchmarks.result import report
from tests.fleet import ROOT, Fleet, folder, running

RANGES = {"24h": 86400, "7d": 7 * 86400, "30d": 30 * 86400, "1y": 365 * 86400}
MUST_MS = AIM_MS = 300.0
_ASKED = 50
_OWNER = "acme-owner"


def main(devices: int, days: int) -> int:
    """One portal, one past, each range twice."""
    with folder() as var, running(var, "--no-swarm", "--workers", "1") as fleet:
        made = fill(fleet, devices, days)
        sys.stdout.write(f"{json.dumps(made)}\n")
        pid = fleet.kill("postgres")
        fleet.wait_restarted("postgres", pid)
        fleet.wait_ready()
        with closing(browser(fleet)) as customer:
            names = random.Random(1).sample(range(1, devices + 1), min(_ASKED, devices))  # noqa: S311 (no secret)
            first = {label: charts(customer, names, span) for label, span in RANGES.items()}
            sys.stdout.write(f"after a restart {json.dumps(first)}\n")
            again = {label: charts(customer, names, span) for label, span in RANGES.items()}
            sys.stdout.write(f"again {json.dumps(again)}\n")
            sys.stdout.flush()
            others = {"compared_10_1y": compared(customer, names), "band_7d": bands(customer, names)}
            least = told([ask(customer, "/api/v1/", {})[1] for _ in names])
    slowest = max(found["p95_ms"] for found in (*first.values(), *again.values()))
    figures = {"made": made, "after_restart": first, "again": again, **others, "api_index": least}
    ratios = {"chart_1y_to_api_index": round(again["1y"]["p50_ms"] / least["p50_ms"], 1)}
    return report(
        "years", figures | {"slowest_p95_ms": slowest}, ratios, must=slowest <= MUST_MS, aim=slowest <= AIM_MS
    )


def fill(fleet: Fleet, devices: int, days: int) -> dict[str, Any]:
    """The devices `d-years-1`… and their past."""
    stretches = [(days, 3600), *((back, every) for back, every in ((7, 300), (1, 60)) if back < days)]
    asked = {"name": "years", "devices": devices, "stretches": stretches, "minute_days": 90, "owner": _OWNER}
    command = [sys.executable, "-m", "benchmarks.history", json.dumps(asked)]
    environment = fleet.env() | {"LOG_LEVEL": "WARNING"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def browser(fleet: Fleet) -> httpx.Client:
    """A customer who is signed in."""
    client = httpx.Client(base_url=fleet.run["http_url"], timeout=30)
    client.get("/sign-in/")
    form = {"username": _OWNER, "password": fleet.user(_OWNER)["password"]}
    form["csrfmiddlewaretoken"] = client.cookies["csrftoken"]
    client.post("/sign-in/", data=form, headers={"Referer": fleet.run["http_url"]})
    return client


def charts(customer: httpx.Client, numbers: list[int], seconds: int) -> dict[str, Any]:
    """All metrics of each device over so many seconds back from now."""
    taken, points = [], []
    for number in numbers:
        answer, milliseconds = ask(customer, f"/api/v1/devices/d-years-{number}/series", {"seconds": seconds})
        taken.append(milliseconds)
        points.append(len(answer["times"]))
    shape = {"source": answer["source"], "step_s": answer["step_ms"] // 1000, "points": statistics.median(points)}
    return shape | told(taken)


def compared(customer: httpx.Client, numbers: list[int]) -> dict[str, Any]:
    """One metric of ten devices over a year."""
    taken = []
    for start in range(0, len(numbers) - 9, 10):
        devices = [f"d-years-{number}" for number in numbers[start : start + 10]]
        asked = {"seconds": RANGES["1y"], "metric": "temperature_c", "device": devices}
        taken.append(ask(customer, "/api/v1/series", asked)[1])
    return told(taken)


def bands(customer: httpx.Client, numbers: list[int]) -> dict[str, Any]:
    """What is usual, beside a chart of a week."""
    asked = {"seconds": RANGES["7d"], "metric": "temperature_c"}
    return told([ask(customer, f"/api/v1/devices/d-years-{number}/band", asked)[1] for number in numbers])


def ask(customer: httpx.Client, path: str, parameters: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """The answer and how long it took (ms), from the request to its last byte."""
    while True:
        began = time.perf_counter()
        answer = customer.get(path, params=parameters)
        milliseconds = (time.perf_counter() - began) * 1000
        if answer.status_code != 429:
            break
        time.sleep(int(answer.headers["Retry-After"]))  # so many charts a minute for a person: this one is in a hurry
    answer.raise_for_status()
    return answer.json(), milliseconds


def told(taken: list[float]) -> dict[str, float]:
    """Median and 95th percentile (ms)."""
    ordered = sorted(taken)
    p95 = ordered[int(len(ordered) * 0.95)] if len(ordered) > 1 else ordered[0]
    return {"p50_ms": round(statistics.median(ordered), 1), "p95_ms": round(p95, 1), "max_ms": round(ordered[-1], 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--days", type=int, default=365, help="how far back")
    chosen = parser.parse_args()
    sys.exit(main(chosen.devices, chosen.days))
