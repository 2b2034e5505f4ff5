"""Maintenance windows, each in its own time zone: freezes hold offers back, slots are the only time for them."""

from datetime import UTC, datetime, time

import pytest

from devices.models import Group, MaintenanceWindow
from firmware import offers, windows
from firmware.models import Campaign, Update
from tests.firmware import fleet

pytestmark = pytest.mark.django_db
FREEZE, SLOT = MaintenanceWindow.Kind.FREEZE, MaintenanceWindow.Kind.SLOT
ALWAYS = {"weekdays": "1234567", "starts": time(0), "minutes": 1440}
NIGHT = {"weekdays": "7", "starts": time(1), "minutes": 180, "timezone": "Europe/Berlin"}  # Sundays, 01:00 for 3 h
THEN = datetime(2026, 11, 21, 12, tzinfo=UTC)  # a Saturday


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def group(*members, **window):
    made = Group.objects.create(tenant=members[0].device.tenant, name=f"group {Group.objects.count()}")
    made.devices.add(*(row.device for row in members))
    if window:
        MaintenanceWindow.objects.create(group=made, **window)
    return made


def planned(n=1, **fields):
    made = fleet.release()
    return fleet.enlist(fleet.campaign(made, [100], **fields), fleet.devices(n, made))


def offer(row, at=THEN):
    return [each.pk for each in offers.offer(Campaign.objects.get(pk=row.campaign_id), at)]


def waiting(row):
    return Update.objects.get(pk=row.pk).waiting


def test_a_freeze_holds_back_its_own_group_only():
    held, free = planned(2)
    group(held, kind=FREEZE, **ALWAYS)
    assert offer(held) == [free.pk]
    assert (waiting(held), waiting(free)) == ("window", "")


def test_a_slot_is_the_only_time_for_its_group():
    row, free = planned(2)
    group(row, kind=SLOT, **ALWAYS | {"weekdays": "7"})
    assert offer(row) == [free.pk] and waiting(row) == "window"
    assert offer(row, utc("2026-11-22 12:00"))[0] == row.pk


def test_one_open_slot_is_enough_and_one_freeze_too_much():
    (row,) = planned()
    group(row, kind=SLOT, **ALWAYS | {"weekdays": "7"})
    group(row, kind=SLOT, **ALWAYS)
    frozen = group(row, kind=FREEZE, **ALWAYS)
    assert offer(row) == []
    frozen.devices.clear()
    assert offer(row) == [row.pk]


def test_a_campaign_may_ignore_them():
    (row,) = planned(use_windows=False)
    group(row, kind=FREEZE, **ALWAYS)
    assert offer(row) == [row.pk]


def test_who_is_held_back_does_not_crowd_out_those_behind():
    rows = planned(30)
    group(*rows[:18], kind=FREEZE, **ALWAYS)
    assert offer(rows[0]) == [row.pk for row in rows[18:28]]


def test_a_running_installation_is_not_interrupted():
    (row,) = planned()
    offer(row)
    group(row, kind=FREEZE, **ALWAYS)
    Update.objects.update(state="downloading", seq=1)
    assert offer(row) == [] and waiting(row) == ""


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-11-22 00:00", True),  # winter: 01:00 in Berlin
        ("2026-11-21 23:59", False),
        ("2026-11-22 02:59", True),
        ("2026-11-22 03:00", False),
        ("2026-07-04 23:00", True),  # summer: 01:00 of Sunday in Berlin, still Saturday in UTC
        ("2026-07-05 02:00", False),
        ("2026-03-29 00:00", True),  # the night that lacks an hour: 01:00 to 05:00 by the clock, three hours long
        ("2026-03-29 02:59", True),
        ("2026-03-29 03:00", False),
        ("2026-10-24 23:00", True),  # the night with an hour twice: 01:00 to 03:00 by the clock
        ("2026-10-25 01:59", True),
        ("2026-10-25 02:00", False),
    ],
)
def test_a_night_in_its_time_zone_across_the_changes_of_the_clock(at, is_open):
    (row,) = planned()
    group(row, kind=SLOT, **NIGHT)
    assert bool(windows.at(utc(at)).open) is is_open
    assert bool(offer(row, utc(at))) is is_open


def test_a_window_over_midnight_belongs_to_the_day_it_starts_on():
    (row,) = planned()
    group(row, kind=SLOT, weekdays="6", starts=time(23), minutes=120, timezone="America/New_York")
    assert offer(row, utc("2026-11-22 03:59")) == []
    assert offer(row, utc("2026-11-22 05:30")) == [row.pk]  # 00:30 of Sunday in New York


def test_groups_are_sorted_by_their_windows():
    held, slotted = planned(2)
    frozen, closed = group(held, kind=FREEZE, **ALWAYS), group(slotted, kind=SLOT, **ALWAYS | {"weekdays": "7"})
    opened = group(slotted, kind=SLOT, **ALWAYS)
    assert windows.at(THEN) == windows.Windows([frozen.pk], sorted([closed.pk, opened.pk]), [opened.pk])
