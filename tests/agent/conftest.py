"""What the agent's tests share: an authority, a real broker, an enrolled identity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent import identity, slots
from agent.identity import Broker, Endpoints, Enrolment, Identity
from agent.image import Header
from tests.agent.authority import Authority
from tests.agent.bench import Home
from tests.agent.mosquitto import Mosquitto
from tests.agent.place import Place
from tests.agent.portal import EnrolmentDoor, Issuer, Listener
from tests.agent.releases import Signer, UpdateDoor
from tests.agent.town import Town


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that broker and devices trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def broker(tmp_path: Path, authority: Authority) -> Iterator[Mosquitto]:
    """A running broker."""
    mosquitto = Mosquitto(tmp_path, authority)
    mosquitto.start()
    yield mosquitto
    mosquitto.kill()


@pytest.fixture
def enrolled(tmp_path: Path, authority: Authority) -> Identity:
    """The identity of device d-1, a cold logger of acme."""
    directory = tmp_path / "d-1"
    certificate = authority.sign(identity.request(directory, "serial-1"), "d-1")
    slots.boot(directory, Header("1.0.0", ["cold-logger"]), lambda _: True)  # as it came from the factory
    endpoints = Endpoints(Broker("127.0.0.1", 8883))
    answer = Enrolment("d-1", "acme", "cold-logger", certificate, authority.root.read_text(), endpoints)
    return identity.store(directory, answer)


@pytest.fixture
def town(tmp_path: Path, authority: Authority, broker: Mosquitto) -> Iterator[Town]:
    """Where a swarm can live."""
    door = EnrolmentDoor(authority, broker.port)
    with door.open() as url:
        place = Town(tmp_path, authority, broker, door, url)
        yield place
        place.close()


@pytest.fixture
def place(home: Home, tmp_path: Path) -> Iterator[Place]:
    """Where device d-1 is at home, with images for it."""
    door, signer = UpdateDoor(home.authority), Signer()
    build = replace(home.build, firmware_keys=signer.keys, permit_key=signer.public)
    with door.open() as url:
        yield Place(replace(home, server=url, build=build), door, signer, tmp_path)


@pytest.fixture
def issuer(authority: Authority) -> Issuer:
    """Answers requests for certificates at home."""
    return Issuer(authority)


@pytest.fixture
def home(broker: Mosquitto, enrolled: Identity, authority: Authority, issuer: Issuer) -> Home:
    """Where device d-1 is at home."""
    listener = Listener(broker.plain_port)
    listener.issuer = issuer
    return Home(enrolled.credentials.parent, broker, authority, listener)
