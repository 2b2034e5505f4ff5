"""Fifty devices with certificates of 90 s live through three rotations; `make chaos` does it with a thousand."""

import pytest

from tests.fleet import eventually, folder, running
from tests.rotating import online, survive
from tests.swarm import Swarm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
DEVICES = 50


@pytest.mark.chaos  # four minutes
def test_three_rotations_and_a_power_cut(tmp_path):
    short = {"CERTIFICATE_LIFETIME": "90s", "CERTIFICATE_OVERLAP": "5s", "ROTATION_EVERY": "2s"}
    with folder() as var, running(var, "--no-swarm", **short) as fleet:
        survive(fleet, tmp_path / "swarm", DEVICES, lifetime=90, interval=2)


@pytest.mark.chaos
def test_devices_whose_certificates_expired_while_they_were_away_come_back(tmp_path):
    """They ask the HTTPS door with what has expired, once, and are flagged."""
    short = {"CERTIFICATE_LIFETIME": "20s", "CERTIFICATE_OVERLAP": "2s", "ROTATION_EVERY": "2s"}
    with folder() as var, running(var, "--no-swarm", **short) as fleet:
        swarm = Swarm(fleet, tmp_path / "swarm", 3, interval=1)
        eventually(lambda: online(fleet) == 3, 60, what="enrolled")
        swarm.lose_power()
        valid = "SELECT count(*) FROM devices_certificate WHERE revoked_at IS NULL AND not_after > now()"
        eventually(lambda: fleet.sql(valid)[0][0] == 0, 60, what="every certificate has expired")
        before = fleet.sql("SELECT now()")[0][0]
        swarm = Swarm(fleet, tmp_path / "swarm", 3, interval=1)
        try:
            query = "SELECT count(DISTINCT device_id) FROM telemetry_reading WHERE received_at > %s"
            eventually(lambda: fleet.sql(query, before)[0][0] == 3, 90, what="all three speak again")
        finally:
            swarm.stop()
        flagged = fleet.sql(
            "SELECT count(DISTINCT device_id) FROM devices_finding WHERE kind = %s", "expired_certificate_used"
        )
        assert flagged == [(3,)]
        assert fleet.sql("SELECT count(*) FROM devices_device") == [(3,)]
