"""200,000 QoS 1 messages of 1,000 devices into rows: over a mutual-TLS connection of each, beside one plain connection.

The same stream, portal and measure as `ingest`; in turn over one plain connection at the portal's own door and from the
devices. They subscribe to `telemetry/stored`, and a round is no result unless each of them heard that every message of
its own is settled.
"""

import argparse
import json
import resource
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.ingest import SETTINGS, WARM_UP, Publisher, check, cpu, forget, portal, wait_stored
from benchmarks.result import report
from tests.crowd.process import register
from tests.fleet import Fleet, folder, running

MESSAGES, DEVICES, ROUNDS = 200_000, 1_000, 3
MUST_PLAIN, AIM_PLAIN = 0.7, 0.9
_NAME = "secure"


def main(messages: int, devices: int, rounds: int) -> int:
    """One portal; in turn the plain connection and the devices."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with folder() as var, running(var, "--no-swarm", "--workers", "1", **SETTINGS) as fleet:
        identities = var.parent / "identities"
        register(fleet, identities, _NAME, devices)
        portal(fleet, WARM_UP, devices, _NAME)
        plain, secure = [], []
        for _ in range(rounds):
            plain.append(portal(fleet, messages, devices, _NAME))
            secure.append(over_tls(fleet, identities, messages))
            sys.stdout.write(f"plain {json.dumps(plain[-1])}\nTLS   {json.dumps(secure[-1])}\n")
    rates = {name: statistics.median(run["rate"] for run in runs) for name, runs in (("plain", plain), ("tls", secure))}
    ratios = {"of_plain": round(rates["tls"] / rates["plain"], 2)}
    figures: dict[str, Any] = {
        "rate": round(rates["tls"]),
        "plain": round(rates["plain"]),
        "rates": [round(run["rate"]) for run in secure],
        "plains": [round(run["rate"]) for run in plain],
        "confirmed_after_s": statistics.median(run["confirmed_after_s"] for run in secure),
        "cpu_us": {name: statistics.median(run["cpu_us"][name] for run in secure) for name in secure[0]["cpu_us"]},
        "plain_cpu_us": {name: statistics.median(run["cpu_us"][name] for run in plain) for name in plain[0]["cpu_us"]},
    }
    must = ratios["of_plain"] >= MUST_PLAIN
    return report("ingest_tls", figures, ratios, must=must, aim=ratios["of_plain"] >= AIM_PLAIN)


def over_tls(fleet: Fleet, identities: Path, count: int) -> dict[str, Any]:
    """The stream from the devices: as `ingest.portal`, and how long after the last was stored all was confirmed (s)."""
    forget(fleet)
    asked = {"folder": str(identities), "ca": fleet.run["ca_file"], "count": count}
    with Publisher("benchmarks.stream_tls", asked) as publisher:
        used = cpu(fleet)
        told = publisher.pour()
        ended = wait_stored(fleet, count, told["began"])
        spent = {name: (seconds - used[name]) / count * 10**6 for name, seconds in cpu(fleet).items()}
        last = publisher.told()
    check(fleet, count)
    if last["refused"]:
        raise RuntimeError(f"{last['refused']} messages were refused")
    spent["devices"] = last["cpu_s"] / count * 10**6
    return {
        "rate": count / (ended - told["began"]),
        "confirmed_after_s": round(last["confirmed"] - ended, 2),
        "cpu_us": {name: round(each, 1) for name, each in spent.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    sys.exit(main(chosen.messages, chosen.devices, chosen.rounds))
