"""Fixtures of this room's tests."""

import pytest

from tests.firmware import fleet


@pytest.fixture(autouse=True)
def _heard_for_long(_clean_cache):
    """The portal heard all that devices said, unless a test says otherwise: silence is theirs."""
    fleet.heard_for(1000 * fleet.DAY)
