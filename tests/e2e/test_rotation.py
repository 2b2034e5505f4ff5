"""Fifty devices with certificates of 90 s live through three rotations; `make chaos` does it with a thousand."""

import pytest

from tests.fleet import folder, running
from tests.rotating import survive

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
DEVICES = 50


def test_three_rotations_and_a_power_cut(tmp_path):
    short = {"CERTIFICATE_LIFETIME": "90s", "CERTIFICATE_OVERLAP": "5s", "ROTATION_EVERY": "2s"}
    with folder() as var, running(var, "--no-swarm", **short) as fleet:
        survive(fleet, tmp_path / "swarm", DEVICES, lifetime=90, interval=2)
