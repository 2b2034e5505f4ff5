"""What failures keep a device from getting, and who lets it have it again."""

from datetime import timedelta

import pytest

from devices.models import Event
from firmware import holds
from firmware.models import Campaign, Hold, Update
from tests.factories import StaffFactory
from tests.firmware import fleet
from tests.firmware.fleet import DAY, HOUR, NOW, SECOND

pytestmark = pytest.mark.django_db


def failed(device=None, version="2.0.0", state="failed", ended=NOW, installing=NOW, **fields):
    """An update of a device that failed; of a new one, unless it is given."""
    kind = device.device_type if device else None
    made = fleet.release(version, *([kind] if kind else []))
    devices = [device] if device else fleet.devices(1, made)
    (row,) = fleet.offered(fleet.campaign(made), devices, state, ended_at=ended, installing_at=installing, **fields)
    return row


def hold(*rows, at=NOW):
    holds.after_failures(rows, at)
    return list(Hold.objects.order_by("pk").values_list("kind", "version"))


@pytest.mark.parametrize("state", ["failed", "timed_out", "rolled_back"])
def test_a_version_that_failed_when_installed_is_held(state):
    row = failed(state=state)
    assert hold(row) == [("version", "2.0.0")]
    assert hold(row) == [("version", "2.0.0")], "once"
    assert Hold.objects.get().update == row


@pytest.mark.parametrize("state", ["failed", "timed_out"])
def test_one_that_never_installed_is_not(state):
    assert hold(failed(state=state, installing=None)) == []


@pytest.mark.parametrize("state", ["succeeded", "canceled", "skipped", "rejected"])
def test_what_is_no_failure_holds_nothing(state):
    assert hold(failed(state=state)) == []


def test_three_failures_of_a_device_put_it_in_the_penalty_box():
    rows = [failed()]
    rows += [failed(rows[0].device, f"2.0.{number}", installing=None) for number in (1, 2)]
    assert set(hold(*rows[:2])) == {("version", "2.0.0"), ("penalty", "")}
    other = failed()
    assert ("penalty", "") not in list(Hold.objects.filter(device=other.device).values_list("kind", "version"))


def test_two_are_not_enough_nor_are_old_ones():
    row = failed()
    failed(row.device, "2.0.1")
    failed(row.device, "2.0.2", ended=NOW - 31 * DAY)
    assert ("penalty", "") not in hold(row)


def test_what_the_portal_took_back_and_rollbacks_do_not_count():
    row = failed()
    failed(row.device, "2.0.1", "rolled_back", reason_code=holds.TAKEN_BACK)
    parent = Campaign.objects.get(pk=row.campaign_id)
    child = fleet.campaign(None, rollback_of=parent, author=parent.author, approver=parent.approved_by)
    old = fleet.release("1.0.0", row.device.device_type)
    (back,) = fleet.offered(child, [row.device], "failed", ended_at=NOW, installing_at=NOW, release=old)
    assert hold(row, back) == [("version", "2.0.0")]


def test_what_an_operator_cleared_is_not_held_again_for_the_same_failure():
    rows = [failed()]
    rows += [failed(rows[0].device, f"2.0.{number}") for number in (1, 2)]
    hold(*rows)
    Hold.objects.update(cleared_at=NOW + SECOND)
    assert hold(*rows, at=NOW + HOUR) and not Hold.objects.filter(cleared_at__isnull=True).exists()


def test_a_new_failure_after_the_clearing_holds_the_version_again():
    row = failed()
    hold(row)
    Hold.objects.update(cleared_at=NOW + SECOND)
    Update.objects.update(ended_at=NOW + HOUR)
    hold(row, at=NOW + HOUR)
    assert Hold.objects.filter(cleared_at__isnull=True).get().kind == "version"


def test_an_operator_clears_it_once_and_leaves_evidence():
    row = failed()
    hold(row)
    user = StaffFactory()
    held = Hold.objects.get()
    assert holds.clear(held, user, "a new battery", NOW) is True
    assert holds.clear(held, StaffFactory(), "me too", NOW + timedelta(seconds=1)) is False
    held.refresh_from_db()
    assert (held.cleared_by, held.cleared_reason, held.cleared_at) == (user, "a new battery", NOW)
    event = Event.objects.get(kind="hold.cleared")
    assert (event.device, event.user, event.reason) == (row.device, user, "a new battery")
