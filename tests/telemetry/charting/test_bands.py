import random
from datetime import timedelta
from math import sin, tau

import pytest

from telemetry.charting import bands, charts, resolutions
from telemetry.charting.resolutions import moment
from telemetry.models import Hour
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.messages import noon
from tests.telemetry.past import DAY, HOUR, MINUTE, say, wave

pytestmark = pytest.mark.django_db
NOW = noon() - DAY + timedelta(minutes=30)


@pytest.fixture
def schema():
    return SchemaFactory()


@pytest.fixture
def device(schema, days):
    """Four weeks of a wave, 20 ± 5 °C, until a day before NOW."""
    device = DeviceFactory(device_type=schema.device_type)
    wave(device, schema, NOW.replace(minute=0) - 30 * DAY, NOW.replace(minute=0) - DAY)
    return device


def band(device, span=DAY, name="temperature_c", points=1500):
    plan = resolutions.plan(NOW - span, NOW, charts.kept(NOW), points)
    return bands.band(device, name, plan, NOW)


def as_ever(at, chance):
    return 20 + 5 * sin(at.timestamp() / 86400 * tau) + chance.uniform(-1, 1)


def test_planted_anomalies_are_found_and_nothing_else(device, schema):
    chance = random.Random(1)
    moments = [NOW - each * MINUTE for each in range(1, 24 * 60)]
    planted = {NOW - each * MINUTE for each in (90, 91, 92, 600, 1200)}
    say(device, schema, [(at, as_ever(at, chance) + 6 * (at in planted)) for at in moments])
    found = band(device)
    assert {moment(each) for each in found.outside} == planted
    assert found.days == 29 and found.reason == ""


def test_what_is_usual_at_another_time_of_day_is_an_anomaly(device, schema):
    """The evening's value at noon: no fixed limit would find it."""
    chance = random.Random(1)
    say(
        device,
        schema,
        [(NOW - each * MINUTE, as_ever(NOW - each * MINUTE + 6 * HOUR, chance)) for each in range(1, 31)],
    )
    assert len(band(device).outside) == 30


def test_the_band_encloses_the_range_and_what_was_usual_in_it(device):
    found = band(device, 7 * DAY)
    assert found.times[0] <= (NOW - 7 * DAY).timestamp() * 1000 and found.times[-1] >= NOW.timestamp() * 1000
    assert {later - one for one, later in zip(found.times, found.times[1:], strict=False)} == {3_600_000}
    for time, low, high in zip(found.times, found.lows, found.highs, strict=True):
        usual = 20 + 5 * sin(time / 86_400_000 * tau)
        assert low < usual < high
        assert high - low < 8


def test_the_range_itself_does_not_decide_what_is_usual(device, schema):
    before = band(device)
    wave(device, schema, NOW.replace(minute=0) - DAY + HOUR, NOW.replace(minute=0))
    assert band(device).lows == before.lows


@pytest.mark.parametrize(
    ("name", "span", "reason"),
    [
        ("humidity_pct", DAY, "There are fewer than 7 days of readings before this range."),
        ("temperature_c", 365 * DAY, "A range of more than 31 days has no usual time of day."),
        ("door_open", DAY, "Yes and no have no usual range."),
    ],
)
def test_without_a_band_there_is_a_reason(device, name, span, reason):
    found = band(device, span, name)
    assert (found.reason, found.times, found.outside) == (reason, [], [])


def test_a_month_has_one(device):
    assert band(device, 30 * DAY).reason != "A range of more than 31 days has no usual time of day."


def test_in_buckets_of_a_day_habit_is_inside_and_an_hour_beside_it_is_found(device, schema):
    """10 °C by night and 30 °C by day: the average of a day is usual at no time of day."""
    hours = Hour.objects.filter(device=device)
    for value, some in ((10, hours), (30, hours.filter(start__hour__in=range(8, 18)))):
        some.update(sums=[60 * value, None, None], lows=[value - 1, None, None], highs=[value + 1, None, None])
    assert band(device, 10 * DAY, points=12).outside == []
    odd = (NOW - 5 * DAY).replace(minute=0)
    hours.filter(start=odd).update(sums=[60 * 10, None, None])
    found = band(device, 10 * DAY, points=12)
    assert found.reason == ""
    assert [moment(each) for each in found.outside] == [odd.replace(hour=0)]


def test_an_unknown_metric_has_none(device):
    assert band(device, name="pressure_bar") is None
