"""What one run will start: decided once, from the environment, the secrets and the free ports."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetportal.embedded import console, mosquitto, mosquitto_install, ports, postgres, secrets, valkey
from fleetportal.embedded.place import Place
from fleetportal.embedded.portal import PORTS, Portal, environment
from fleetportal.embedded.private_files import write_private
from fleetportal.embedded.program import Program


@dataclass(frozen=True)
class Plan:
    """Servers to start (`stores` first, then the `broker`), and the portal's environment and processes."""

    stores: list[Program]
    broker: Program | None
    env: Mapping[str, str]
    portal: Portal


def make(place: Place, workers: int) -> Plan:
    """Prepare servers and write the environment's file. A server whose URL is in our environment is not ours to start.

    Raises RuntimeError when a server is missing and cannot be fetched, OSError when a file cannot be written.
    """
    secret = secrets.load(place.var / "secrets.json")
    port = ports.take(PORTS, place.var / "ports.json")
    given = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL", "MQTT_URL") if os.environ.get(name)}
    stores: dict[str, Program] = {}
    broker = None
    if "DATABASE_URL" not in given:
        stores["DATABASE_URL"] = postgres.server(place, port["postgres"], secret["database_password"])
    if "REDIS_URL" not in given:
        stores["REDIS_URL"] = valkey.server(place, port["valkey"], secret["redis_password"])
    urls = {**given, **{name: program.url for name, program in stores.items()}}
    if "MQTT_URL" not in given:
        if mosquitto_install.find(place) is None:
            console.say("         fetching Mosquitto, once ...")
        broker = mosquitto.server(place, port["device_mqtt"], port["mqtt"], secret["mqtt_password"])
        urls["MQTT_URL"] = broker.url
    env = environment(place, secret, port, urls, workers)
    _empty(Path(env["PROMETHEUS_MULTIPROC_DIR"]))
    write_private(place.var / "embedded.env", "".join(f"{name}={value}\n" for name, value in env.items()))
    return Plan(list(stores.values()), broker, env, Portal(place, env, port))


def _empty(folder: Path) -> None:
    """Forget what processes of the last run counted."""
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
