"""A whole portal under test: `make run` in a folder of its own, and what a tester does with it."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

from agent import enroll, identity
from fleetportal.embedded import place

ROOT = Path(__file__).resolve().parent.parent


def eventually(condition: Callable[[], Any], seconds: float = 30, every: float = 0.05, what: str = "") -> Any:
    """Wait until the condition is true and return what it returned. Fails with its name after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(every)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for a run's data, gone afterwards. The servers' user can enter it, unlike pytest's own folders."""
    with place.temporary() as here:
        yield here.var / "var"


@contextmanager
def running(var: Path, *arguments: str, **settings: str) -> "Iterator[Fleet]":
    """A run, up and ready, with these settings in its environment."""
    fleet = Fleet(var, *arguments, **settings)
    try:
        yield fleet.wait()
    finally:
        fleet.stop()


class Fleet:
    """One run of `python -m fleetportal.embedded`, in `var`."""

    def __init__(self, var: Path, *arguments: str, **settings: str) -> None:
        self.var = var
        self.output = var.with_suffix(".out")
        clean = {key: value for key, value in os.environ.items() if key not in _OURS and not key.startswith("TESTS_")}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fleetportal.embedded", "--var", str(var), *arguments],
                cwd=ROOT,
                env=clean | settings,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, seconds: float = 120) -> "Fleet":
        """Wait for the block that says it runs."""

        def shown() -> bool:
            said = self.output.read_text()
            assert self.process.poll() is None, said
            assert "could not start" not in said, said
            return "Fleetportal is running" in said

        eventually(shown, seconds, what="make run")
        return self

    def stop(self) -> None:
        """Ctrl-C, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)

    @property
    def run(self) -> dict[str, Any]:
        """What run.json says now."""
        return dict(json.loads((self.var / "run.json").read_text()))

    def env(self) -> dict[str, str]:
        """The environment of the portal's processes."""
        lines = (self.var / "embedded.env").read_text().splitlines()
        return os.environ | dict(line.split("=", 1) for line in lines if line)

    def kill(self, name: str) -> int:
        """Kill a process of this run for good; returns the process id it had."""
        pid = int(self.run["pids"][name])
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, name: str, old: int, seconds: float = 30) -> None:
        """Wait until the supervisor has started it again."""
        eventually(lambda: self.run["pids"].get(name, old) != old, seconds, what=f"{name} started again")

    def wait_ready(self, seconds: float = 60) -> None:
        """Wait until every part is ready."""
        eventually(lambda: self.get("/readyz").status_code == 200, seconds, what="ready again")

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask the portal. An unreachable portal answers 599."""
        try:
            return httpx.get(self.run["http_url"] + path, timeout=10, **options)
        except httpx.TransportError as error:
            return httpx.Response(599, text=str(error))

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(self.run["database_url"], connect_timeout=5) as connection:
            return connection.execute(query, parameters).fetchall()

    def user(self, username: str) -> dict[str, str]:
        """A sign-in."""
        return next(each for each in self.run["sign_ins"] if each["username"] == username)

    def device(self, folder: Path, hardware_id: str = "") -> "Device":
        """A new device with an identity of its own."""
        return Device(self, folder, hardware_id or f"test-{uuid.uuid4().hex[:8]}")


class Device:
    """A device in the tester's hand: enrolled by the agent's code, speaking by paho."""

    def __init__(self, fleet: Fleet, folder: Path, hardware_id: str) -> None:
        run = fleet.run
        self.folder, self.hardware_id = folder, hardware_id
        folder.mkdir(parents=True, exist_ok=True)
        csr = identity.request(folder, hardware_id)
        application = enroll.Application(run["claim_token"], run["device_type"], hardware_id, csr)
        with ThreadPoolExecutor(1) as thread:  # a browser test has an event loop in this thread
            self.identity = thread.submit(lambda: asyncio.run(self._enrol(run, application))).result()
        self.device_id = self.identity.enrolment.device_id
        self.prefix = f"/{run['tenant']}/{run['device_type']}/{self.device_id}"
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.device_id)
        self.client.tls_set(run["ca_file"], str(self.identity.credentials))
        self.client.connect(run["mqtt_host"], run["mqtt_port"])
        self.client.loop_start()

    async def _enrol(self, run: dict[str, Any], application: enroll.Application) -> identity.Identity:
        async with enroll.client(run["device_https_url"], Path(run["ca_file"])) as http:
            enrolment = await enroll.enroll(http, application, random.Random(0))
        return identity.store(self.folder, enrolment)

    def publish(self, channel: str, payload: Any, qos: int = 1) -> None:
        """Publish on a channel of its own and wait for the broker's acknowledgement."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.client.publish(f"{self.prefix}/{channel}", body, qos=qos).wait_for_publish(10)

    def reading(self, **values: Any) -> str:
        """Publish a reading of a cold-chain logger; returns its id."""
        msg_id = str(uuid.uuid4())
        usual = {"temperature_c": 4.5, "humidity_pct": 50, "battery_v": 3.1, "door_open": False}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.publish("telemetry", {"msg_id": msg_id, "ts": now, "schema_version": 1, "values": usual | values})
        return msg_id

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


_OURS = {
    "ENV_FILE", "SECRET_KEY", "DATABASE_URL", "REDIS_URL", "MQTT_URL", "MQTT_INGEST_GROUP", "DEVICE_MQTT_HOST",
    "DEVICE_MQTT_PORT", "DEVICE_HTTPS_URL", "CA_DIRECTORY", "CA_KEY_PASSPHRASE", "BROKER_DIRECTORY", "SECURE_COOKIES",
    "FIRMWARE_DIRECTORY", "ARCHIVE_DIRECTORY", "EXPORT_DIRECTORY", "WORK_DIRECTORY", "ALLOWED_HOSTS",
    "LOG_LEVEL", "DJANGO_SETTINGS_MODULE", "PORTAL_URL",
}  # fmt: skip
"""What tests/servers.py sets for this process must not reach a portal of its own."""
