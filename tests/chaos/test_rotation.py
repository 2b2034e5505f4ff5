"""A thousand devices with certificates of ten minutes live through three rotations and a power cut."""

import pytest

from tests.fleet import folder, running
from tests.rotating import survive

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]
DEVICES = 1000


def test_three_rotations_and_a_power_cut(tmp_path):
    short = {
        "CERTIFICATE_LIFETIME": "10m",
        "CERTIFICATE_OVERLAP": "20s",
        "ROTATION_EVERY": "5s",
        "RENEWALS_PER_MINUTE": "1200",
    }
    with folder() as var, running(var, "--no-swarm", "--workers", "2", **short) as fleet:
        survive(fleet, tmp_path / "swarm", DEVICES, lifetime=600, interval=10)
