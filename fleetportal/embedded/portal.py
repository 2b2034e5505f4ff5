"""The portal's own processes: the environment they read, and what to run."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from fleetportal.embedded import mosquitto
from fleetportal.embedded.place import Place
from fleetportal.embedded.ports import descriptor
from fleetportal.embedded.program import Program

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"http": 8000, "device_https": 8443, "device_mqtt": 8883, "mqtt": 11883, "postgres": 25432, "valkey": 16379}
HOST = "127.0.0.1"
DATABASE_POOL = "8"
"""Connections of each process that answers HTTP."""


def environment(
    place: Place, secrets: Mapping[str, str], ports: Mapping[str, int], servers: Mapping[str, str], workers: int
) -> dict[str, str]:
    """Everything Django's settings read. `servers` holds DATABASE_URL, REDIS_URL and MQTT_URL."""
    http = ports["http"]
    broker_host = urlsplit(os.environ.get("MQTT_URL", "")).hostname
    return {
        **servers,
        "ENV_FILE": str(place.var / "embedded.env"),
        "SECRET_KEY": secrets["secret_key"],
        "DEBUG": "false",
        "ALLOWED_HOSTS": "127.0.0.1,localhost,[::1]",
        "CSRF_TRUSTED_ORIGINS": f"http://127.0.0.1:{http},http://localhost:{http}",
        "SECURE_COOKIES": "false",
        "PORTAL_URL": f"http://{HOST}:{http}",
        "MQTT_INGEST_GROUP": secrets["mqtt_ingest_group"],
        "MQTT_SLOTS": str(max(2, workers)),
        "DEVICE_MQTT_HOST": os.environ.get("DEVICE_MQTT_HOST", broker_host or HOST),
        "DEVICE_MQTT_PORT": os.environ.get("DEVICE_MQTT_PORT", "8883" if broker_host else str(ports["device_mqtt"])),
        "DEVICE_HTTPS_URL": f"https://{HOST}:{ports['device_https']}",
        "CA_DIRECTORY": str(place.own_folder("ca")),
        "FIRMWARE_DIRECTORY": str(place.own_folder("firmware")),
        "ARCHIVE_DIRECTORY": str(place.own_folder("archive")),
        "EXPORT_DIRECTORY": str(place.own_folder("exports")),
        "WORK_DIRECTORY": str(place.own_folder("work")),
        "CA_KEY_PASSPHRASE": secrets["ca_key_passphrase"],
        "BROKER_DIRECTORY": str(mosquitto.broker_folder(place)),
        "DEMO_PASSWORD": secrets["demo_password"],
        "EMAIL_URL": os.environ.get("EMAIL_URL", f"filemail://{place.own_folder('mail')}"),
        "PROMETHEUS_MULTIPROC_DIR": str(place.own_folder("metrics")),
    }


class Portal:
    """Makes programs that run with the portal's environment."""

    def __init__(self, place: Place, env: Mapping[str, str], ports: Mapping[str, int]) -> None:
        self._place = place
        self._env = {**os.environ, **env, "PYTHONUNBUFFERED": "1"}
        self._ports = ports
        self.http_url = f"http://{HOST}:{ports['http']}"

    def prepare(self, demo: Path) -> Program:
        """Migrations, authorities, broker files, demo data; writes what it made to `demo`."""
        return self._python("prepare", "manage.py", "prepare_demo", "--output", str(demo))

    def web(self) -> Program:
        """Pages, API and WebSockets for people."""
        # A browser holds its WebSocket open for ever; a stop does not wait for it.
        # Which headers of a proxy are believed, settings say (BEHIND_PROXY), not where it stands.
        options = ["--ws=websockets-sansio", "--no-proxy-headers", "--timeout-graceful-shutdown=2"]
        program = self._serving("web", "http", "uvicorn", "fleetportal.asgi:application", *options)
        # Uploads arrive on the disk they stay on; /tmp is memory on many machines.
        return replace(program, env={**program.env, "TMPDIR": str(self._place.own_folder("firmware/incoming"))})

    def device_https(self) -> Program:
        """The HTTPS door of devices. It starts itself anew when the portal renewed its certificate."""
        return self._serving("device-https", "device_https", "fleetportal.device_https")

    def mqtt_worker(self, number: int) -> Program:
        """A worker with the MQTT pump. Solo: forked children would hold the pump's sockets and outlive it."""
        name = f"mqtt{number}"
        return self._celery(name, "worker", "--mqtt", "--pool=solo", "-Qmqtt", f"-n{name}@%h")

    def worker(self) -> Program:
        """The worker of all tasks that may wait."""
        return self._celery("worker", "worker", "-Qdefault", "-c1", "-nworker@%h")

    def rollout_worker(self) -> Program:
        """The worker that moves campaigns on: however large they are, nothing else waits behind them."""
        return self._celery("rollout", "worker", "--pool=solo", "-Qrollout", "-nrollout@%h")

    def jobs_worker(self) -> Program:
        """The worker of long tasks: exports, replays, the archive. One at a time, and nothing else waits for them."""
        return self._celery("jobs", "worker", "-Qjobs", "-c1", "-njobs@%h")

    def urgent_worker(self) -> Program:
        """The worker that shuts devices out. Solo: one process, and nothing else ever keeps it busy."""
        return self._celery("urgent", "worker", "--pool=solo", "-Qurgent", "-nurgent@%h")

    def beat(self) -> Program:
        """The clock."""
        return self._celery("beat", "beat")

    def swarm(self, count: int, run_file: Path, options: Sequence[str] = ()) -> Program:
        """`count` simulated devices. They get none of the portal's secrets."""
        state = str(self._place.own_folder("swarm"))
        arguments = ["-m", "agent", "swarm", f"--run-file={run_file}", f"--count={count}", f"--state={state}", *options]
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        return Program("swarm", [sys.executable, *arguments], env, ROOT)

    def _serving(self, name: str, port: str, module: str, *options: str) -> Program:
        """A module that takes over a held port's socket."""
        listening = descriptor(self._ports[port])
        program = self._python(name, "-m", module, f"--fd={listening}", *options)
        env = {**program.env, "DATABASE_POOL": os.environ.get("DATABASE_POOL", DATABASE_POOL)}
        return replace(program, env=env, descriptors=[listening])

    def _celery(self, name: str, *options: str) -> Program:
        return self._python(name, "-m", "celery", "-A", "fleetportal", *options)

    def _python(self, name: str, *arguments: str) -> Program:
        return Program(name, [sys.executable, *arguments], self._env, ROOT)
