"""Settings that make no sense stop the process, and say why."""

from datetime import timedelta

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured

from fleetportal import env


@pytest.fixture
def told(monkeypatch):
    """Set the variable; nothing of it stays among the settings that docs/settings.md lists."""
    monkeypatch.setattr(env, "NAMES", {})
    return lambda value: monkeypatch.setenv("SOME_DAYS", value)


@pytest.mark.parametrize("value", ["1", "30", "400"])
def test_a_number_in_its_range_is_read(told, value):
    told(value)
    assert env.number("SOME_DAYS", "Days.", 7, least=1, most=400) == int(value)
    assert env.NAMES["SOME_DAYS"].range == (1, 400)


@pytest.mark.parametrize("value", ["0", "-2", "401", "10000000"])
def test_a_number_out_of_its_range_is_refused_by_name_with_the_range(told, value):
    told(value)
    with pytest.raises(ImproperlyConfigured, match=f"^SOME_DAYS={value}: write a number from 1 to 400$"):
        env.number("SOME_DAYS", "Days.", 7, least=1, most=400)


@pytest.mark.parametrize("value", ["", "1.5", "many"])
def test_what_is_no_number_is_refused_by_name(told, value):
    told(value)
    with pytest.raises(ImproperlyConfigured, match=r"^SOME_DAYS is not a valid int$"):
        env.number("SOME_DAYS", "Days.", 7, least=1, most=400)


def test_every_number_has_a_range_and_its_default_lies_in_it():
    numbers = [each for each in env.NAMES.values() if each.kind == "int"]
    assert len(numbers) > 10
    for each in numbers:
        assert each.range is not None, each.name
        assert each.default is environ.Env.NOTSET or each.range[0] <= each.default <= each.range[1], each.name


@pytest.mark.parametrize(
    "name",
    ["HOT_DAYS", "MINUTE_DAYS", "HOUR_DAYS", "TELEMETRY_PER_MINUTE", "TENANT_TELEMETRY_PER_MINUTE", "MQTT_SLOTS"],
)
def test_what_would_lose_readings_at_zero_is_above_it(name):
    assert env.NAMES[name].range[0] >= 1


def test_a_length_of_time_has_an_end(told):
    told("36500d")
    assert env.duration("SOME_DAYS", "How long.", "1d") == timedelta(days=36_500)
    told("36501d")
    with pytest.raises(ImproperlyConfigured, match=r"^SOME_DAYS=36501d: write a length of time from 1s to 36500d$"):
        env.duration("SOME_DAYS", "How long.", "1d")
