"""Kill every process under load, one after the other: what devices sent is what is stored, once."""

import time

import psycopg
import pytest

from tests.fleet import eventually
from tests.swarm import Swarm, stored

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
DEVICES = 50
VICTIMS = ["mqtt1", "valkey", "mosquitto", "postgres", "mqtt2", "web", "worker", "rollout", "jobs", "urgent", "beat"]


def heard(fleet, since):
    """How many devices have a reading that was made and stored since then."""
    try:
        query = "SELECT count(DISTINCT device_id) FROM telemetry_reading WHERE received_at > %s AND ts > %s"
        return fleet.sql(query, since, since)[0][0]
    except psycopg.OperationalError:
        return 0  # it is the database that was killed


def test_stored_equals_sent_after_every_process_was_killed(fleet, tmp_path):
    swarm = Swarm(fleet, tmp_path / "swarm", DEVICES)
    try:
        eventually(lambda: len({device for device, _ in stored(fleet)}) == DEVICES, 120, what="all devices heard")
        for victim in VICTIMS:
            began = time.monotonic()
            killed_at = fleet.sql("SELECT now()")[0][0]
            fleet.wait_restarted(victim, fleet.kill(victim))
            eventually(lambda since=killed_at: heard(fleet, since) == DEVICES, 90, what=f"all heard after {victim}")
            print(f"kill -9 {victim}: every device stored again after {time.monotonic() - began:.1f} s")
        fleet.wait_ready(90)
    finally:
        swarm.stop()
    # What was made last lies in the outboxes. The same devices, started again, deliver it and hardly make more.
    quiet = Swarm(fleet, tmp_path / "swarm", DEVICES, interval=3600)
    try:
        eventually(lambda: stored(fleet) == quiet.made(), 120, every=0.5, what="stored = sent")
    finally:
        quiet.stop()
    print(f"{len(quiet.made())} messages of {DEVICES} devices: stored = sent, none twice")
