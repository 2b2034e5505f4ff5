"""Rollups computed anew by hand."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from telemetry.models import Minute, Touched
from telemetry.rolled import rollups
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.messages import noon, row
from tests.telemetry.rolling import agree, expected, stored, take

MINUTE, HOUR, DAY = (timedelta(seconds=each) for each in (60, 3600, 86400))


@pytest.fixture
def schema(db):
    return SchemaFactory()


@pytest.fixture
def device(schema, days):
    return DeviceFactory(device_type=schema.device_type)


def test_a_repair_computes_a_stretch_of_time_anew(device, schema):
    rows = [row(device, schema, noon() - DAY + n * 17 * MINUTE, n) for n in range(60)]
    take(*rows)
    Touched.objects.all().delete()
    list(rollups.recompute([device.pk], noon() - DAY, noon() + DAY, noon()))
    agree(rows)


def test_a_repair_goes_no_further_than_it_is_told(device, schema):
    rows = [row(device, schema, noon() + n * MINUTE) for n in range(5)]
    take(*rows)
    Touched.objects.all().delete()
    steps = list(rollups.recompute([device.pk], noon() + MINUTE, noon() + 3 * MINUTE, noon()))
    assert steps == [2]
    assert stored(Minute) == expected(rows[1:3], 60)


def test_a_repair_does_the_work_that_it_keeps_others_from(device, schema):
    told = row(device, schema, noon() - 2 * DAY)
    take(told)
    list(rollups.recompute([device.pk], noon() - MINUTE, noon(), noon()))
    assert stored(Minute) == expected([told], 60)


def test_the_command_repairs_and_tells_how_far_it_is(device, schema, capsys):
    rows = [row(device, schema, noon() - n * HOUR) for n in range(3)]
    other = row(DeviceFactory(device_type=schema.device_type), schema, noon())
    take(other, *rows)
    Touched.objects.all().delete()
    day, after = noon().date(), noon().date() + DAY
    call_command("roll_up", device=[device.device_id], since=_at(day), until=_at(after))
    assert "100 % of 1 devices" in capsys.readouterr().out
    agree(rows)
    call_command("roll_up", "--since", str(day), "--until", f"{after}T00:00:00+00:00")
    agree([other, *rows])


def _at(day):
    return noon().replace(year=day.year, month=day.month, day=day.day, hour=0)


def test_the_command_without_a_time_does_what_waits(device, schema, capsys):
    take(row(device, schema, timezone.now() - 2 * HOUR))
    call_command("roll_up")
    assert capsys.readouterr().out == "1 buckets computed.\n"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [["--since", "2026-07-01"], ["--since", "2026-07-02", "--until", "2026-07-02"], ["--device", "d-1"],
     ["--device", "d-none", "--since", "2026-07-01", "--until", "2026-07-02"], ["--since", "soon"]],
)  # fmt: skip
def test_the_command_refuses_what_it_does_not_understand(arguments):
    with pytest.raises(CommandError):
        call_command("roll_up", *arguments)
