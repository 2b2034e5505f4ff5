"""`manage.py ota_stop`: the stop by hand on a machine, for when no page answers."""

from io import StringIO

import pytest
from django.core.management import call_command

from devices.models import Event
from firmware.models import Stop
from tests.factories import StaffFactory
from tests.firmware import fleet

pytestmark = pytest.mark.django_db


def said(*words, **options):
    out = StringIO()
    call_command("ota_stop", *words, stdout=out, **options)
    return out.getvalue()


def test_stops_looks_and_lifts_in_the_name_of_somebody():
    robin, campaign = StaffFactory(username="robin"), fleet.campaign(fleet.release(), name="Winter")
    who = {"user": "robin", "reason": "Smoke"}
    told = said("on", **who)
    assert "STOPPED since" in told
    assert "by robin" in told
    assert "  Smoke" in told
    assert f"campaign {campaign.pk} running, 0 under way: Winter" in told
    assert "STOPPED" in said("on", **who), "twice is once"
    assert Stop.objects.get().started_by == robin
    assert "No stop is in force." in said("off", **who)
    assert "There was no stop to lift." in said("off", **who)
    kinds = Event.objects.filter(user=robin, reason="Smoke").order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["campaign.stop_all", "campaign.lift_stop"]
