"""The real PostgreSQL, Valkey and (on demand) Mosquitto under the tests: started once, on free ports, gone at the end.

Loaded by `-p tests.servers` before Django reads its settings, so the environment is made when this is imported.
With xdist the controller starts the servers; each worker has a database, a Valkey number and a broker of its own.
"""

import atexit
import os
import secrets
from contextlib import ExitStack

from fleetportal.embedded import mosquitto, place, ports, postgres, valkey
from fleetportal.embedded.program import running

PASSWORD = "only-for-these-tests"
_stack = ExitStack()
atexit.register(_stack.close)


def _start() -> None:
    """PostgreSQL and Valkey for all processes of this run."""
    here = _stack.enter_context(place.temporary())
    logs = here.own_folder("log")
    database = _stack.enter_context(running(postgres.server(here, ports.any_free(), PASSWORD, durable=False), logs))
    postgres.ensure_database(database.url)
    cache = _stack.enter_context(running(valkey.server(here, ports.any_free(), PASSWORD), logs))
    os.environ["DATABASE_URL"] = database.url
    os.environ["TESTS_REDIS_URL"] = cache.url.rsplit("/", 1)[0]


def _describe() -> None:
    """What differs from process to process."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 15
    device_port, internal_port = ports.any_free(), ports.any_free()
    ports.hold([device_port, internal_port])
    os.environ |= {
        "ENV_FILE": os.devnull,
        "SECRET_KEY": secrets.token_hex(32),
        "REDIS_URL": f"{os.environ['TESTS_REDIS_URL']}/{number}",
        "MQTT_URL": f"mqtt://portal:{PASSWORD}@127.0.0.1:{internal_port}",
        "MQTT_INGEST_GROUP": secrets.token_hex(16),
        "DEVICE_MQTT_HOST": "127.0.0.1",
        "DEVICE_MQTT_PORT": str(device_port),
        "DEVICE_HTTPS_URL": "https://127.0.0.1:1",
        "CA_DIRECTORY": str(HERE.own_folder("ca")),
        "FIRMWARE_DIRECTORY": str(HERE.own_folder("firmware")),
        "ARCHIVE_DIRECTORY": str(HERE.own_folder("archive")),
        "EXPORT_DIRECTORY": str(HERE.own_folder("exports")),
        "WORK_DIRECTORY": str(HERE.own_folder("work")),
        "CA_KEY_PASSPHRASE": secrets.token_hex(16),
        "BROKER_DIRECTORY": str(mosquitto.broker_folder(HERE)),
        "SECURE_COOKIES": "false",
        "PORTAL_URL": "http://localhost",
        "ALLOWED_HOSTS": "testserver,127.0.0.1,localhost",
        "LOG_LEVEL": "WARNING",
    }


if "TESTS_REDIS_URL" not in os.environ:
    _start()
HERE = _stack.enter_context(place.temporary())
_describe()
