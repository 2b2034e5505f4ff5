from datetime import timedelta

import pytest
from django.utils import timezone

from devices import auditing
from devices.models import Finding
from operations import audits
from telemetry.models import Touched
from telemetry.rolled import rollups

MINUTE = timedelta(minutes=1)
pytestmark = pytest.mark.django_db


def waits(grain, since):
    Touched.objects.create(grain=grain, devices=[1], buckets=[1])
    Touched.objects.filter(grain=grain).update(created_at=since)


def opened(now):
    audits.run(now, ["rollups"])
    return list(Finding.objects.filter(resolved_at__isnull=True).values_list("kind", "severity"))


@pytest.mark.parametrize("grain", Touched.Grain)
def test_what_waits_for_more_than_a_quarter_of_an_hour_is_told_until_it_is_done(grain):
    now = timezone.now()
    waits(grain, now - 15 * MINUTE)
    assert opened(now) == []
    assert opened(now + MINUTE) == [("rollups_behind", "warning")]
    assert Finding.objects.get().detail.startswith(f"The oldest {grain.label.lower()} without its figures waits since")
    Touched.objects.all().delete()
    assert opened(now + MINUTE) == []


def test_it_is_looked_at_every_minute_and_moves_the_gauge():
    now = timezone.now()
    assert "rollups" in {each.name for each in auditing.audits() if each.often}
    waits(Touched.Grain.MINUTE, now - MINUTE)
    opened(now)
    assert rollups.LAG._value.get() == 60
