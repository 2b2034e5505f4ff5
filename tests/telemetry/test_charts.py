from datetime import timedelta

import pytest
from django.db import transaction

from telemetry import charts
from telemetry.models import Latest
from telemetry.store import store
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.messages import noon, row

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


@pytest.fixture
def schema():
    return SchemaFactory()


@pytest.fixture
def device(schema, days):
    return DeviceFactory(device_type=schema.device_type)


@pytest.fixture
def put(device, schema):
    """Store values at so many seconds after noon."""

    def do(values, **changes):
        rows = [row(device, schema, noon() + seconds * SECOND, value, **changes) for seconds, value in values]
        with transaction.atomic():
            store(rows)

    return do


def ms(seconds):
    return int((noon() + seconds * SECOND).timestamp() * 1000)


def test_readings_of_a_bucket_are_averaged(device, put):
    put([(0, 1), (0.5, 3), (1, 10)])
    result = charts.series(device.pk, noon(), noon() + 60 * SECOND)
    assert result.step == SECOND
    assert result.times == [ms(0), ms(1)]
    assert result.values["temperature_c"] == [2.0, 10.0]


def test_buckets_grow_with_the_range_so_that_no_more_points_come_than_a_screen_shows(device, put):
    put([(seconds, seconds) for seconds in range(0, 3000, 2)])
    result = charts.series(device.pk, noon(), noon() + 3000 * SECOND)
    assert result.step == 5 * SECOND
    assert len(result.times) == charts.POINTS
    assert result.values["temperature_c"][:2] == [2.0, 7.0]


def test_gaps_stay_gaps(device, put):
    put([(0, 1), (30, 2)])
    result = charts.series(device.pk, noon(), noon() + 60 * SECOND)
    assert result.times == [ms(0), ms(30)]


def test_a_metric_a_bucket_lacks_is_null_there_and_texts_are_no_series(device, put):
    put([(0, 1)])
    put([(1, 2)], metrics=[2.0, 50.0, 1.0])
    result = charts.series(device.pk, noon(), noon() + 60 * SECOND)
    assert result.values == {"temperature_c": [1.0, 2.0], "humidity_pct": [None, 50.0], "door_open": [None, 1.0]}


def test_a_range_begins_with_its_first_moment_and_ends_before_its_last(device, put):
    put([(-1, 1), (0, 2), (59, 3), (60, 4)])
    result = charts.series(device.pk, noon(), noon() + 60 * SECOND)
    assert result.values["temperature_c"] == [2.0, 3.0]


def test_a_device_that_never_spoke_has_no_series(device):
    assert charts.series(device.pk, noon(), noon() + 60 * SECOND).values == {}


def test_only_this_device_and_the_schema_it_speaks_now_are_drawn(device, put, schema):
    other = DeviceFactory(device_type=schema.device_type)
    newer = SchemaFactory(device_type=schema.device_type, version=2)
    put([(0, 1)])
    with transaction.atomic():
        store([row(device, newer, noon() + SECOND, 7), row(other, schema, noon(), 99)])
    result = charts.series(device.pk, noon(), noon() + 60 * SECOND)
    assert (result.times, result.values["temperature_c"]) == ([ms(1)], [7.0])


def test_the_newest_values_are_shown_with_label_unit_and_kind(device, put):
    put([(0, 4.5)], metrics=[4.5, None, 1.0], extra='{"note": "<b>"}')
    shown = {item["name"]: item for item in charts.shown(Latest.objects.get())}
    assert (shown["temperature_c"]["value"], shown["temperature_c"]["unit"]) == (4.5, "°C")
    assert (shown["humidity_pct"]["value"], shown["door_open"]["value"], shown["note"]["value"]) == (None, True, "<b>")


def test_a_schema_longer_than_the_stored_array_shows_what_there_is(device, put):
    put([(0, 4.5)], metrics=[4.5])
    assert [item["value"] for item in charts.shown(Latest.objects.get())] == [4.5, None, None, None]
