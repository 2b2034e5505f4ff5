"""What time does to updates: a proof, a time-out, a device that left; and what a rollback undoes."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from firmware import updates
from firmware.models import Campaign, Hold, Update, Verified
from tests.firmware import fleet
from tests.firmware.fleet import BOOT, HOUR, MINUTE, NEXT_BOOT, NOW, SECOND

pytestmark = pytest.mark.django_db
VERIFY = 5 * MINUTE


def the(row):
    return Update.objects.get(pk=row.pk)


def verifying(n=1, campaign=None, **fields):
    """Devices that booted into the new version at NOW and found themselves well."""
    fields = {"installing_boot_id": BOOT, "boot_id": NEXT_BOOT, "seq": 7} | fields
    moments = dict.fromkeys(["installing_at", "rebooting_at", "checked_at", "changed_at"], NOW)
    rows = fleet.rollout(n)
    for row in rows:
        fleet.reboot(row.device, "2.0.0")
    rows[0].campaign.updates.update(**({"state": "verifying"} | moments | fields))
    return rows


def settle(row, at):
    return {each.pk for each in updates.settle(Campaign.objects.get(pk=row.campaign_id), at)}


class TestProving:
    def test_it_succeeds_after_the_verify_time_and_not_before(self):
        (row,) = verifying()
        assert settle(row, NOW + VERIFY - SECOND) == set()
        assert settle(row, NOW + VERIFY) == {row.pk}
        assert (the(row).state, the(row).ended_at) == ("succeeded", NOW + VERIFY)
        assert settle(row, NOW + 2 * VERIFY) == set()

    def test_what_it_runs_then_is_what_a_rollback_may_lead_back_to(self):
        (row,) = verifying()
        Verified.objects.create(device=row.device, version="0.9.0", verified_at=NOW - HOUR)
        settle(row, NOW + VERIFY)
        verified = Verified.objects.get()
        assert (verified.version, verified.release, verified.verified_at) == ("2.0.0", row.release, NOW + VERIFY)

    @pytest.mark.parametrize(
        ("presence", "fields"),
        [
            ({"online": False}, {}),
            ({"changed_at": NOW + MINUTE}, {}),
            ({"firmware_version": "1.0.0"}, {}),
            ({"boot_id": BOOT}, {}),
            ({}, {"checked_at": None}),
            ({}, {"checked_at": NOW + MINUTE}),
        ],
        ids=["offline", "came back lately", "other version", "old boot", "no self-check", "checked lately"],
    )
    def test_what_proves_nothing(self, presence, fields):
        (row,) = verifying(**fields)
        fleet.presence(row.device, **presence)
        assert settle(row, NOW + VERIFY) == set()
        assert the(row).state == "verifying"


class TestTimingOut:
    @pytest.mark.parametrize(
        ("state", "patience"),
        [("installing", HOUR), ("rebooting", HOUR + 5 * MINUTE), ("verifying", HOUR + VERIFY)],
        ids=["installing", "rebooting", "verifying"],
    )
    def test_an_installation_that_says_nothing_more_has_failed(self, state, patience):
        (row,) = fleet.rollout(state=state, at=NOW)
        Update.objects.update(installing_at=NOW, changed_at=NOW)
        assert settle(row, NOW + patience) == set()
        assert settle(row, NOW + patience + SECOND) == {row.pk}
        assert (the(row).state, the(row).reason_code) == ("timed_out", "timeout")
        assert Hold.objects.get().update == row


class TestLeaving:
    @pytest.mark.parametrize("offered_at", [None, NOW], ids=["planned", "offered"])
    def test_a_device_out_of_service_is_removed_and_its_serial_stays(self, offered_at):
        (row,) = fleet.rollout(state="queued")
        Update.objects.update(offered_at=offered_at)
        type(row.device).objects.update(state="decommissioned")
        assert settle(row, NOW) == {row.pk}
        assert (the(row).state, the(row).serial) == ("removed", row.device.hardware_id)

    def test_a_quarantined_one_may_be_released_again(self):
        (row,) = fleet.rollout()
        type(row.device).objects.update(state="quarantined")
        assert settle(row, NOW) == set()


class TestRollbacks:
    def back(self, parent_row, **fields):
        """The child's update for the device of one that is rolled back, about to prove itself."""
        old = fleet.release("1.0.0", parent_row.device.device_type)
        parent = parent_row.campaign
        child = fleet.campaign(None, [100], rollback_of=parent, author=parent.author, approver=parent.approved_by)
        (row,) = fleet.offered(
            child, [parent_row.device], "verifying", release=old, from_version="2.0.0", offered_boot_id=NEXT_BOOT,
            installing_boot_id=NEXT_BOOT, installing_at=NOW, rebooting_at=NOW, checked_at=NOW, **fields,
        )  # fmt: skip
        fleet.reboot(row.device, "1.0.0", "boot-3")
        return row

    @pytest.mark.parametrize(
        ("state", "reason"),
        [("succeeded", ""), ("canceled", updates.LEFT_BEHIND)],
        ids=["verified", "met while verifying"],
    )
    def test_its_success_takes_the_parents_back(self, state, reason):
        (parent,) = fleet.rollout()
        Update.objects.update(state=state, reason_code=reason, ended_at=NOW, rebooting_at=NOW)
        row = self.back(parent)
        assert settle(row, NOW + VERIFY) == {row.pk}
        assert (the(row).state, the(parent).state) == ("succeeded", "rolled_back")
        assert (the(parent).reason_code, the(parent).ended_at) == ("taken_back", NOW + VERIFY)
        assert Verified.objects.get().version == "1.0.0"
        assert not Hold.objects.exists()

    def test_one_that_was_taken_back_before_it_installed_stays_so(self):
        (parent,) = fleet.rollout()
        Update.objects.update(state="canceled", reason_code="rolled_back", ended_at=NOW)
        settle(self.back(parent), NOW + VERIFY)
        assert the(parent).state == "canceled"

    def test_its_failure_holds_nothing(self):
        (parent,) = fleet.rollout()
        Update.objects.update(state="succeeded", ended_at=NOW)
        row = self.back(parent)
        Update.objects.filter(pk=row.pk).update(checked_at=None, changed_at=NOW)
        settle(row, NOW + 3 * HOUR)
        assert the(row).state == "timed_out" and not Hold.objects.exists()


def test_a_look_costs_the_same_queries_however_many_it_moves():
    def queries(n):
        rows = verifying(n)
        with CaptureQueriesContext(connection) as captured:
            assert len(settle(rows[0], NOW + VERIFY)) == n
        return len(captured)

    assert queries(2) == queries(200) <= 10


def test_a_look_moves_a_bounded_number(monkeypatch):
    monkeypatch.setattr(updates, "BATCH", 3)
    rows = verifying(5)
    assert [len(settle(rows[0], NOW + VERIFY)) for _ in range(3)] == [3, 2, 0]
