import pytest

from tests.chromium import chromium
from tests.fleet import folder, running


@pytest.fixture(scope="session")
def fleet():
    """A running demo with a few devices, shared by the tests that do not break it."""
    with folder() as var, running(var, "--swarm", "6") as fleet:
        yield fleet


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def device(fleet, tmp_path):
    """A device of the first demo tenant in the tester's hand."""
    device = fleet.device(tmp_path / "device")
    yield device
    device.close()
