import pytest

from tests.fleet import folder, running


@pytest.fixture
def fleet():
    """A running portal of its own, without a swarm: it is about to be hurt."""
    with folder() as var, running(var, "--no-swarm", "--workers", "2") as fleet:
        yield fleet
