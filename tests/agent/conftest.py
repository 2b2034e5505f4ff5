"""What the agent's tests share: an authority, a real broker, an enrolled identity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import identity
from agent.identity import Broker, Endpoints, Enrolment, Identity
from tests.agent.authority import Authority
from tests.agent.mosquitto import Mosquitto


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
    endpoints = Endpoints(Broker("127.0.0.1", 8883))
    answer = Enrolment("d-1", "acme", "cold-logger", certificate, authority.root.read_text(), endpoints)
    return identity.store(directory, answer)
