from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from devices import auditing
from devices.models import Finding
from operations import audits
from telemetry.store import store
from telemetry.tables import partition_audits, partitions
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.messages import row

FAR = datetime(2041, 7, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
pytestmark = pytest.mark.django_db


def stray(*moments):
    schema = SchemaFactory()
    device = DeviceFactory(device_type=schema.device_type)
    store([row(device, schema, moment) for moment in moments])


def opened():
    return list(Finding.objects.filter(resolved_at__isnull=True).values_list("kind", "severity"))


def test_a_stray_is_found_within_a_minute_and_resolved_when_it_is_healed(days):
    stray(FAR, FAR + DAY)
    audits.run(timezone.now(), ["strays"])
    assert opened() == [("reading_stray", "warning")]
    assert Finding.objects.get().detail == "2 readings from 2041-07-15 to 2041-07-16 (UTC) lie in no partition."
    partitions.heal()
    audits.run(timezone.now(), ["strays"])
    assert opened() == []


def test_both_are_looked_at_every_minute():
    assert {"strays", "partitions"} <= {each.name for each in auditing.audits() if each.often}


def test_many_strays_are_not_counted_to_the_end(monkeypatch):
    monkeypatch.setattr(partition_audits, "_COUNTED", 2)
    stray(FAR, FAR, FAR)
    (found,) = partition_audits.strays(FAR)
    assert found.detail.startswith("2 or more readings from")


@pytest.mark.parametrize(("gap", "severities"), [(0, ["critical"]), (1, ["critical"]), (2, ["warning"]), (3, [])])
def test_days_without_a_partition_are_told_before_they_come(gap, severities):
    partitions.make_ahead(FAR)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {partitions.partition(FAR.date() + gap * DAY)}")
    assert [each.severity for each in partition_audits.missing(FAR)] == severities


def test_who_wants_one_day_ahead_is_not_told_of_two(settings):
    settings.PARTITION_DAYS_AHEAD = 1
    partitions.make_ahead(FAR)
    assert list(partition_audits.missing(FAR)) == []
