"""Throw-away places and certificates for the servers under test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetportal.embedded import mosquitto
from fleetportal.embedded import place as places
from fleetportal.embedded.place import Place
from tests.embedded.authority import TestAuthority


@pytest.fixture
def place() -> Iterator[Place]:
    with places.temporary() as made:
        yield made


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def authority(place: Place) -> TestAuthority:
    """A CA that has written the broker's files."""
    made = TestAuthority(mosquitto.broker_folder(place))
    made.write_all()
    return made
