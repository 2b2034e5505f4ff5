from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from telemetry.charting import charts, resolutions
from telemetry.charting.resolutions import Source
from telemetry.models import Hour, Latest, Metric, Minute, Schema, Touched
from telemetry.rolled import rollups
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.messages import noon
from tests.telemetry.past import DAY, HOUR, MINUTE, SECOND, say

pytestmark = pytest.mark.django_db
NOW = noon() - DAY + timedelta(minutes=30, seconds=20)


@pytest.fixture
def schema():
    return SchemaFactory()


@pytest.fixture
def device(schema, days):
    return DeviceFactory(device_type=schema.device_type)


@pytest.fixture
def put(device, schema):
    """Readings so long before NOW."""
    return lambda values, **changes: say(device, schema, [(NOW - ago, value) for ago, value in values], **changes)


def drawn(device, span, wanted=None, now=NOW, names=()):
    plan = resolutions.plan(now - span, now + SECOND, charts.kept(now), wanted=wanted)
    return charts.series(device, plan, now, names)


def known(series, name="temperature_c"):
    """Values that there are, by seconds before NOW."""
    values = zip(series.times, series.values[name], strict=True)
    return {round(NOW.timestamp() - time / 1000): value for time, value in values if value is not None}


def test_readings_of_a_bucket_are_averaged_and_its_extremes_and_last_value_are_told(device, put):
    put([(timedelta(seconds=10.9), 1), (timedelta(seconds=10.1), 3), (9 * SECOND, 10)])
    result = drawn(device, 15 * MINUTE)
    assert (result.plan.step, result.plan.source) == (SECOND, "reading")
    assert result.values["temperature_c"] == [2.0, 10.0]
    assert (result.lows["temperature_c"][0], result.highs["temperature_c"][0]) == (1.0, 3.0)
    assert result.lasts["temperature_c"] == [3.0, 10.0]


@pytest.mark.parametrize("span", [15 * MINUTE, DAY, 7 * DAY, 30 * DAY, 365 * DAY])
@pytest.mark.parametrize("rolled_up", [False, True])
def test_what_was_published_a_moment_ago_is_in_the_chart_of_any_range(device, put, span, rolled_up):
    """Whether the rollups have run before it came or not at all."""
    put([(timedelta(minutes=12), 2), (timedelta(minutes=11), 4)])
    if rolled_up:
        rollups.roll_up(NOW)
        rollups.roll_up(NOW + rollups.HOURS_AFTER)
        assert Hour.objects.exists() and Minute.objects.exists()
    put([(timedelta(seconds=2), 9)])
    result = drawn(device, span)
    assert result.highs["temperature_c"][-1] == 9
    assert min(low for low in result.lows["temperature_c"] if low is not None) == 2


@pytest.mark.parametrize("source", ["minute", "hour"])
def test_what_comes_late_is_in_the_chart_before_the_rollups_have_seen_it(device, put, source):
    put([(5 * HOUR, 2), (5 * HOUR - 30 * SECOND, 4)])
    rollups.roll_up(NOW)
    rollups.roll_up(NOW + rollups.HOURS_AFTER)
    assert not Touched.objects.exists()
    put([(5 * HOUR - 10 * SECOND, 30)])
    assert max(drawn(device, DAY, Source(source)).highs["temperature_c"]) == 30


def test_minutes_between_their_rollup_and_that_of_their_hour_are_in_a_chart_of_hours(device, put):
    put([(HOUR, 7)])
    rollups.roll_up(NOW)
    assert set(Touched.objects.values_list("grain", flat=True)) == {"hour"}
    assert list(known(drawn(device, 30 * DAY)).values()) == [7]


@hypothesis(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 3 * 86400), st.floats(-50, 50)), min_size=1, max_size=30),
    st.lists(st.booleans(), min_size=30, max_size=30),
    st.sampled_from(["minute", "hour"]),
)
def test_minutes_and_hours_say_what_the_readings_say(schema, days, readings, runs, source):
    """Whenever the rollups ran in between."""
    device = DeviceFactory(device_type=schema.device_type)
    for (ago, value), runs_now in zip(readings, runs, strict=False):
        say(device, schema, [(NOW - ago * SECOND, value)])
        if runs_now:
            rollups.roll_up(NOW)
            rollups.roll_up(NOW + rollups.HOURS_AFTER)
    from_rollups, from_readings = (drawn(device, 4 * DAY, Source(each)) for each in (source, "reading"))
    step = max(from_rollups.plan.step, from_readings.plan.step) // SECOND * 1000

    def coarse(series):
        found = {}
        name = "temperature_c"
        for time, low, high in zip(series.times, series.lows[name], series.highs[name], strict=True):
            if low is not None:
                old = found.get(time // step * step, (low, high))
                found[time // step * step] = (min(low, old[0]), max(high, old[1]))
        return found

    assert coarse(from_rollups) == coarse(from_readings)


def test_an_average_is_of_readings_and_not_of_averages(device, put):
    put([(timedelta(minutes=5), 1)] + [(timedelta(minutes=4, seconds=each), 4) for each in range(3)])
    rollups.roll_up(NOW)
    rollups.roll_up(NOW + rollups.HOURS_AFTER)
    Touched.objects.all().delete()
    assert list(known(drawn(device, 30 * DAY, now=NOW + 3 * HOUR)).values()) == [3.25]


def test_rollups_far_behind_cost_no_more_than_two_hours_of_readings(device, put):
    put([(3 * HOUR, 1), (timedelta(minutes=100), 2)])
    Touched.objects.all().delete()
    Touched.objects.create(grain="minute", devices=[0], buckets=[0])
    Touched.objects.update(created_at=NOW - 4 * HOUR)
    assert list(known(drawn(device, DAY)).values()) == [2]


def test_a_long_silence_is_a_gap(device, put):
    put([(each * MINUTE, 1) for each in (3, 4, 5, 11, 12, 13)])
    result = drawn(device, 15 * MINUTE)
    (gap,) = result.gaps["temperature_c"]
    assert [round(NOW.timestamp() - each / 1000) for each in gap] == [11 * 60 - 1, 5 * 60]
    index = result.times.index(gap[0])
    assert result.values["temperature_c"][index] is None and result.highs["temperature_c"][index] is None
    assert len(result.times) == 7


def test_a_metric_that_falls_silent_while_others_speak_has_a_gap_of_its_own(device, put):
    put([(each * MINUTE, 1 if each not in range(5, 10) else None) for each in range(1, 14)])
    put([(each * MINUTE, 1) for each in range(1, 14)], metrics=[None, 50.0, None])
    result = drawn(device, 15 * MINUTE)
    assert (len(result.gaps["temperature_c"]), result.gaps["humidity_pct"]) == (1, [])
    assert None not in result.values["humidity_pct"]


def test_a_metric_a_bucket_lacks_is_null_there_and_texts_are_no_series(device, put):
    put([(9 * SECOND, 1)])
    put([(8 * SECOND, 2)], metrics=[2.0, 50.0, 1.0])
    result = drawn(device, 15 * MINUTE)
    assert result.values == {"temperature_c": [1.0, 2.0], "humidity_pct": [None, 50.0], "door_open": [None, 1.0]}
    assert [metric.kind for metric in result.metrics] == ["number", "number", "boolean"]


def test_arrays_stored_before_a_metric_was_added_are_shorter(device, put):
    put([(9 * SECOND, 1)], metrics=[1.0])
    assert drawn(device, 15 * MINUTE).values["door_open"] == [None]


def test_a_device_that_never_spoke_has_no_points(device):
    result = drawn(device, DAY)
    assert (result.times, result.values["temperature_c"], result.left_out) == ([], [], [])


def test_a_device_without_a_schema_has_no_series(days):
    assert drawn(DeviceFactory(), DAY).values == {}


def test_numbers_beyond_all_measure_are_drawn_too(device, put):
    put([(timedelta(seconds=8.9), 1.7e308), (timedelta(seconds=8.1), 1.7e308)])
    for span in (15 * MINUTE, 30 * DAY):
        assert drawn(device, span).highs["temperature_c"] == [1.7e308]


def version(device_type, number, metrics):
    row = Schema.objects.create(device_type=device_type, version=number)
    for position, (name, unit, kind) in enumerate(metrics):
        Metric.objects.create(schema=row, position=position, name=name, label=name, unit=unit, kind=kind)
    return row


class TestVersions:
    """A metric with the same name and unit is one series, whatever version of the schema spoke it."""

    def test_it_goes_on_from_another_place_of_the_array(self, device, put, schema):
        put([(9 * SECOND, 1)])
        newer = version(schema.device_type, 2, [("door_open", "", "boolean"), ("temperature_c", "°C", "integer")])
        say(device, newer, [(NOW - 8 * SECOND, None)], metrics=[1.0, 2.0])
        result = drawn(device, 15 * MINUTE)
        assert result.values == {"door_open": [None, 1.0], "temperature_c": [1.0, 2.0]}
        assert result.left_out == []

    def test_another_unit_is_left_out_and_told(self, device, put, schema):
        put([(9 * SECOND, 1)])
        newer = version(schema.device_type, 2, [("temperature_c", "°F", "number")])
        say(device, newer, [(NOW - 8 * SECOND, 34)], metrics=[34.0])
        result = drawn(device, 15 * MINUTE)
        assert result.values == {"temperature_c": [34.0]}
        assert result.left_out == [charts.LeftOut("temperature_c", "°C")]

    def test_nothing_is_told_where_the_range_has_nothing_of_it(self, device, put, schema):
        put([(2 * HOUR, 1)])
        newer = version(schema.device_type, 2, [("temperature_c", "°F", "number")])
        say(device, newer, [(NOW - 8 * SECOND, 34)], metrics=[34.0])
        assert drawn(device, 15 * MINUTE).left_out == []

    def test_a_version_the_device_does_not_speak_yet_changes_nothing(self, device, put, schema):
        put([(9 * SECOND, 1)])
        version(schema.device_type, 2, [("temperature_c", "°F", "number")])
        assert drawn(device, 15 * MINUTE).values["temperature_c"] == [1.0]

    def test_a_metric_that_is_gone_is_drawn_when_asked_for(self, device, put, schema):
        put([(9 * SECOND, 1)])
        newer = version(schema.device_type, 2, [("pressure_bar", "bar", "number")])
        say(device, newer, [(NOW - 8 * SECOND, 3)], metrics=[3.0])
        assert list(drawn(device, 15 * MINUTE).values) == ["pressure_bar"]
        assert drawn(device, 15 * MINUTE, names=["temperature_c"]).values == {"temperature_c": [1.0]}


class TestCompared:
    def test_devices_share_one_axis(self, device, put, schema):
        other = DeviceFactory(device_type=schema.device_type)
        put([(9 * SECOND, 1)])
        say(other, schema, [(NOW - 8 * SECOND, 5)])
        plan = resolutions.plan(NOW - 15 * MINUTE, NOW, charts.kept(NOW))
        result = charts.compared([device, other], plan, NOW, "temperature_c")
        assert result.values == {device.device_id: [1.0, None], other.device_id: [None, 5.0]}

    def test_another_type_may_have_it_elsewhere(self, device, put):
        put([(9 * SECOND, 1)])
        other = DeviceFactory()
        metrics = [("pressure_bar", "bar", "number"), ("note", "", "text"), ("temperature_c", "°C", "number")]
        strange = version(other.device_type, 1, metrics)
        say(other, strange, [(NOW - 9 * SECOND, None)], metrics=[60.0, 7.0])
        plan = resolutions.plan(NOW - 15 * MINUTE, NOW, charts.kept(NOW))
        result = charts.compared([device, other], plan, NOW, "temperature_c")
        assert result.values == {device.device_id: [1.0], other.device_id: [7.0]}

    def test_it_asks_the_same_of_the_database_for_one_and_for_ten(self, device, schema):
        others = [DeviceFactory(device_type=schema.device_type) for _ in range(9)]
        plan = resolutions.plan(NOW - 30 * DAY, NOW, charts.kept(NOW))
        asked = []
        for devices in ([device], [device, *others]):
            with CaptureQueriesContext(connection) as queries:
                charts.compared(devices, plan, NOW, "temperature_c")
            asked.append(len(queries))
        assert asked == [
            9,
            9,
        ]  # the newest schema, metrics, touched minutes and hours, the figures within their patience


def test_the_newest_values_are_shown_with_label_unit_and_kind(device, put):
    put([(SECOND, 4.5)], metrics=[4.5, None, 1.0], extra='{"note": "<b>"}')
    shown = {item["name"]: item for item in charts.shown(Latest.objects.get())}
    assert (shown["temperature_c"]["value"], shown["temperature_c"]["unit"]) == (4.5, "°C")
    assert (shown["humidity_pct"]["value"], shown["door_open"]["value"], shown["note"]["value"]) == (None, True, "<b>")


def test_a_schema_longer_than_the_stored_array_shows_what_there_is(device, put):
    put([(SECOND, 4.5)], metrics=[4.5])
    assert [item["value"] for item in charts.shown(Latest.objects.get())] == [4.5, None, None, None]
