"""The devices' HTTPS door as a process of its own, with this process's database, CA and files; and who comes to it."""

import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection

from fleetportal.embedded import ports
from tests.devices.peers import Identity, eventually

ROOT = Path(__file__).resolve().parents[2]
PROVISION = "/api/v1/devices/provision"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> str:
        """The error code, from either kind of refusal."""
        if self.headers.get_content_type() == "application/problem+json":
            return json.loads(self.body)["error_code"]
        return self.text.rpartition("(")[2].strip(")\n")


@dataclass(frozen=True)
class Door:
    """A door that is open."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    plain: bool = False

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.host}"

    @property
    def ca_file(self) -> Path:
        return settings.BROKER_DIRECTORY / "ca.pem"

    def context(self, who: Identity | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if who is not None:
            context.load_cert_chain(who.certfile, who.keyfile)
        return context

    def ask(self, method: str, path: str, body=None, who: Identity | None = None, **headers: str) -> Answer:
        """One request on a connection of its own. Raises OSError when TLS refuses."""
        if self.plain:
            line = http.client.HTTPConnection("localhost", self.port, timeout=30)
        else:
            line = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=self.context(who))
        try:
            line.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            got = line.getresponse()
            return Answer(got.status, got.headers, got.read())
        finally:
            line.close()

    def provision(self, csr: str, who: Identity | None = None, token: str = "", **told: str) -> Answer:
        """Enrol by JSON."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = json.dumps({"csr": csr} | told)
        return self.ask("POST", PROVISION, body, who, Content_Type="application/json", **headers)


def environment() -> dict[str, str]:
    """Of a process of the portal that shares this process's database and files."""
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    return os.environ | {"DATABASE_URL": database.geturl(), "DJANGO_SETTINGS_MODULE": "fleetportal.settings"}


@contextmanager
def opened(log: Path, *arguments: str, **changes: str) -> Iterator[Door]:
    """A door that answers."""
    port = ports.any_free()
    command = [sys.executable, "-m", "fleetportal.device_https", f"--port={port}", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment() | changes, stdout=output, stderr=subprocess.STDOUT
        )
    door = Door(port, process, log, plain="--plain" in arguments)
    try:
        eventually(lambda: answers(door), 30, what="the door answers")
        yield door
    finally:
        process.terminate()
        process.wait(20)


def answers(door: Door) -> bool:
    """Does it?"""
    assert door.process.poll() is None, door.log.read_text()
    try:
        return door.ask("GET", "/livez").status == 200
    except OSError:
        return False
