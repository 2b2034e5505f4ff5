from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from devices.models import Group, MaintenanceWindow
from tests.factories import SiteFactory, TenantFactory

BERLIN = "Europe/Berlin"


def window(weekdays, starts, minutes, zone="UTC"):
    return MaintenanceWindow(weekdays=weekdays, starts=time.fromisoformat(starts), minutes=minutes, timezone=zone)


def at(text, zone="UTC", fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-03-04 01:59:59", False),
        ("2026-03-04 02:00:00", True),  # a Wednesday
        ("2026-03-04 03:59:59", True),
        ("2026-03-04 04:00:00", False),
        ("2026-03-05 03:00:00", False),
    ],
)
def test_is_open_from_its_start_for_its_minutes_on_its_days(moment, is_open):
    assert window("3", "02:00", 120).is_open(at(moment)) is is_open


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-03-06 22:30", False),
        ("2026-03-06 23:00", True),  # Friday night
        ("2026-03-07 00:00", True),
        ("2026-03-07 00:59", True),
        ("2026-03-07 01:00", False),
        ("2026-03-06 00:30", False),  # the night before is not its night
        ("2026-03-07 23:30", False),
    ],
)
def test_over_midnight_it_belongs_to_the_day_it_started_on(moment, is_open):
    assert window("5", "23:00", 120).is_open(at(moment)) is is_open


def test_sunday_night_reaches_into_monday():
    sunday = window("7", "23:30", 60)
    assert sunday.is_open(at("2026-03-09 00:15"))
    assert not sunday.is_open(at("2026-03-08 00:15"))


def test_a_whole_day_is_open_until_the_next_begins():
    whole = window("1", "00:00", 1440)
    assert whole.is_open(at("2026-03-02 00:00"))
    assert whole.is_open(at("2026-03-02 23:59:59"))
    assert not whole.is_open(at("2026-03-03 00:00"))


def test_it_is_told_in_its_own_zone():
    berlin = window("3", "02:00", 60, BERLIN)
    assert berlin.is_open(at("2026-03-04 01:30"))  # 02:30 in Berlin
    assert not berlin.is_open(at("2026-03-04 02:30"))
    auckland = window("4", "02:00", 60, "Pacific/Auckland")
    assert auckland.is_open(at("2026-03-04 13:30"))  # already Thursday there


def test_in_the_night_clocks_go_forward_it_lasts_its_real_minutes():
    spring = window("7", "01:30", 60, BERLIN)  # 02:00 becomes 03:00 on 2026-03-29
    start = at("2026-03-29 00:30")
    assert spring.is_open(start)
    assert spring.is_open(start + timedelta(minutes=59))
    assert not spring.is_open(start + timedelta(minutes=60))


def test_in_the_night_clocks_go_back_it_is_open_once_for_its_real_minutes():
    autumn = window("7", "02:30", 60, BERLIN)  # 03:00 becomes 02:00 on 2026-10-25: 02:30 comes twice
    first = at("2026-10-25 02:30", BERLIN, fold=0).astimezone(UTC)
    assert autumn.is_open(first)
    assert autumn.is_open(first + timedelta(minutes=59))
    assert not autumn.is_open(at("2026-10-25 02:31", BERLIN, fold=1))


def test_a_start_that_the_clock_skips_still_opens_it():
    skipped = window("7", "02:30", 60, BERLIN)
    open_minutes = [m for m in range(24 * 60) if skipped.is_open(at("2026-03-28 23:00") + timedelta(minutes=m))]
    assert len(open_minutes) == 60


@given(
    day=st.sampled_from("1234567"),
    starts=st.times().map(lambda each: each.replace(second=0, microsecond=0)),
    minutes=st.integers(1, 1440),
    zone=st.sampled_from(["UTC", BERLIN, "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu"]),
)
def test_in_a_week_without_a_clock_change_it_is_open_for_exactly_its_minutes(day, starts, minutes, zone):
    weekly = MaintenanceWindow(weekdays=day, starts=starts, minutes=minutes, timezone=zone)
    monday = datetime(2026, 6, 1, tzinfo=UTC)
    step = timedelta(minutes=15)
    open_steps = sum(weekly.is_open(monday + n * step) for n in range(7 * 24 * 4))
    assert minutes // 15 <= open_steps <= minutes // 15 + 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changes", [{"weekdays": "8"}, {"weekdays": ""}, {"weekdays": "1 2"}, {"minutes": 0}, {"minutes": 1441}]
)
def test_the_database_keeps_nonsense_out(changes):
    group = Group.objects.create(tenant=TenantFactory(), name="g")
    told = {"weekdays": "1", "starts": time(2), "minutes": 60} | changes
    with pytest.raises(IntegrityError), transaction.atomic():
        MaintenanceWindow.objects.create(group=group, **told)


@pytest.mark.django_db
def test_a_time_zone_is_one_of_the_iana_database():
    site = SiteFactory.build(tenant=TenantFactory(), timezone="Mars/Olympus")
    with pytest.raises(ValidationError, match="IANA"):
        site.full_clean()
    site.timezone = "Asia/Tokyo"
    site.full_clean()
