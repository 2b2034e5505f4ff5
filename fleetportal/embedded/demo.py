"""The steps of the one-command run: from nothing to a live fleet."""

import json
import signal
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from fleetportal.embedded import console, mosquitto, plan, postgres
from fleetportal.embedded.console import step
from fleetportal.embedded.place import Place
from fleetportal.embedded.plan import Plan
from fleetportal.embedded.run_file import RunFile
from fleetportal.embedded.supervisor import Supervisor
from fleetportal.embedded.watch import FileWatch

SERVER_SECONDS, PREPARE_SECONDS, PORTAL_SECONDS = 60.0, 300.0, 120.0


@dataclass(frozen=True)
class Options:
    """What the command line may choose: how many simulated devices, how many MQTT workers."""

    var: Path
    swarm: int = 50
    workers: int = 1
    swarm_options: tuple[str, ...] = ()
    """For `python -m agent swarm`."""


def start(place: Place, options: Options, supervisor: Supervisor, run_file: RunFile) -> None:
    """All steps in order. Raises StepFailed, or Interrupted when a stop was asked for."""
    console.say("Fleetportal is starting", console.BOLD)
    began = time.time()
    with step("secrets, ports, configuration of the servers"):
        made = plan.make(place, options.workers)
    with step("PostgreSQL and Valkey"):
        supervisor.start(*made.stores)
        supervisor.wait_until_ready(SERVER_SECONDS)
        postgres.ensure_database(made.env["DATABASE_URL"])
    with step("tables, certificate authorities, demo data"):
        demo_file = place.var / "demo.json"
        supervisor.run(made.portal.prepare(demo_file), PREPARE_SECONDS)
    _watch_broker_files(made, supervisor)  # before anybody reads them, so that no change is missed
    if made.broker:
        with step("Mosquitto"):
            supervisor.start(made.broker)
            supervisor.wait_until_ready(SERVER_SECONDS)
    with step("portal and workers"):
        run = _describe(place, made, json.loads(demo_file.read_text(encoding="utf-8")))
        run_file.publish(run)
        _start_portal(made, options, supervisor, run_file)
    if options.swarm:
        with step(f"{options.swarm} devices: first reading stored"):
            supervisor.wait_until(
                lambda: _has_reading(made.env["DATABASE_URL"], began), PORTAL_SECONDS, ["swarm", "mqtt1"]
            )
    _present(run)


def _describe(place: Place, made: Plan, demo: dict[str, Any]) -> dict[str, Any]:
    """What `run.json` says. Addresses of the demo's people are relative to the portal."""
    http_url = made.portal.http_url
    sign_ins = [{**entry, "url": urllib.parse.urljoin(http_url, entry.get("url", "/"))} for entry in demo["sign_ins"]]
    return {
        "http_url": http_url,
        "device_https_url": made.env["DEVICE_HTTPS_URL"],
        "mqtt_host": made.env["DEVICE_MQTT_HOST"],
        "mqtt_port": int(made.env["DEVICE_MQTT_PORT"]),
        "ca_file": str(Path(made.env["BROKER_DIRECTORY"]) / "ca.pem"),
        "database_url": made.env["DATABASE_URL"],
        "redis_url": made.env["REDIS_URL"],
        **demo,
        "sign_ins": sign_ins,
        "log_directory": str(place.var / "log"),
    }


def _start_portal(made: Plan, options: Options, supervisor: Supervisor, run_file: RunFile) -> None:
    """Those first that the first reading needs; the swarm last, so that it is stopped first."""
    portal = made.portal
    workers = [portal.mqtt_worker(number + 1) for number in range(options.workers)]
    workers += [portal.worker(), portal.rollout_worker(), portal.jobs_worker(), portal.urgent_worker()]
    programs = [portal.web(), portal.device_https(), *workers, portal.beat()]
    supervisor.start(*programs)
    if options.swarm:
        supervisor.start(portal.swarm(options.swarm, run_file.path, options.swarm_options))
    supervisor.wait_until(lambda: _is_ready(portal.http_url), PORTAL_SECONDS, [program.name for program in programs])


def _watch_broker_files(made: Plan, supervisor: Supervisor) -> None:
    """The broker reads these files once; the portal replaces them when a certificate is revoked or renewed."""
    if made.broker:
        name = made.broker.name
        files = [Path(made.env["BROKER_DIRECTORY"]) / file for file in mosquitto.BROKER_FILES]
        supervisor.watches.append(FileWatch(files, lambda: supervisor.signal(name, signal.SIGHUP)))


def _is_ready(http_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{http_url}/readyz", timeout=2) as answer:  # noqa: S310 (our own address)
            return bool(answer.status == 200)
    except OSError:
        return False


def _has_reading(database_url: str, since: float) -> bool:
    """Whether a reading came after `since` (epoch seconds)."""
    query = "SELECT 1 FROM telemetry_latest WHERE received_at > to_timestamp(%s) LIMIT 1"
    with psycopg.connect(database_url, connect_timeout=2) as connection:
        return connection.execute(query, [since]).fetchone() is not None


def _whose(entry: dict[str, Any]) -> str:
    return f"{entry['role']} of {entry['tenant']}" if entry["tenant"] else f"staff: {entry['role']}"


def _present(run: dict[str, Any]) -> None:
    http_url = run["http_url"]
    people = [f"{entry['username']:<20} {entry['password']:<20} {_whose(entry)}" for entry in run["sign_ins"]]
    rows = [
        ("Dashboards", http_url),
        ("Admin", f"{http_url}/admin/"),
        ("API", f"{http_url}/api/v1/"),
        *(("Sign in as" if number == 0 else "", line) for number, line in enumerate(people)),
        ("Devices: MQTT", f"{run['mqtt_host']}:{run['mqtt_port']} (mutual TLS)"),
        ("Devices: HTTPS", run["device_https_url"]),
        ("Firmware to try", run["firmware_files"]),
        ("Logs", run["log_directory"]),
        ("Stop", "Ctrl-C"),
    ]
    console.summary("Fleetportal is running", rows)
