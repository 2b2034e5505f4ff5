"""What a campaign came to: the report, and its CSV, which is streamed and harmless in a spreadsheet."""

import asyncio
import csv
import io
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.models import Device, Site
from firmware.admin import campaign_report
from firmware.admin.campaign_report import COLUMNS, safe
from firmware.models import Update, Verdict
from tests.factories import StaffFactory
from tests.firmware import fleet
from tests.firmware.staff import SUPPORT, Press, page

pytestmark = pytest.mark.django_db


@pytest.fixture
def support(client, django_capture_on_commit_callbacks):
    return Press(client, django_capture_on_commit_callbacks, SUPPORT)


def ended(number=4):
    """A campaign that completed: one failed, the others succeeded."""
    now = timezone.now()
    made = fleet.release("2.0.0")
    times = {"started_at": now - timedelta(hours=2), "ended_at": now}
    campaign = fleet.campaign(made, (50, 100), "completed", **times)
    at = now - timedelta(minutes=90)
    rows = fleet.offered(campaign, fleet.devices(number, made), "succeeded", at=at, ended_at=at + timedelta(minutes=7))
    Update.objects.filter(pk=rows[0].pk).update(state="failed", reason_code="self_check", attempt=2)
    Verdict.objects.create(
        campaign=campaign, gate="advance", action="complete", text="All ended.", figures={"n": number}
    )
    return campaign


def lines(response):
    """The rows of a file that was streamed."""
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))


def test_counts_by_state_and_reason_and_keeps_the_decisions(support):
    campaign = ended()
    response = support.client.get(page("report", campaign.pk))
    text = response.content.decode()
    found = [(row["state"], row["reason_code"], row["number"]) for row in response.context["reasons"]]
    assert found == [("succeeded", "", 3), ("failed", "self_check", 1)]
    assert "2 h" in text
    assert "All ended." in text
    assert page("csv", campaign.pk) in text


def test_costs_the_same_with_a_few_devices_and_with_many(support):
    costs = []
    for number in (2, 100):
        campaign = ended(number)
        support.client.get(page("report", campaign.pk))
        with CaptureQueriesContext(connection) as queries:
            support.client.get(page("report", campaign.pk))
        costs.append(len(queries))
    assert costs[0] == costs[1]


def test_the_file_has_every_device(support):
    campaign = ended()
    device = campaign.updates.get(state="failed").device
    Device.objects.filter(pk=device.pk).update(site=Site.objects.create(tenant=device.tenant, name="Quay, north"))
    response = support.client.get(page("csv", campaign.pk))
    found = lines(response)
    assert response["Content-Disposition"] == f'attachment; filename="campaign-{campaign.pk}.csv"'
    assert list(found[0]) == COLUMNS
    assert {row["device id"] for row in found} == set(Device.objects.values_list("device_id", flat=True))
    row = next(row for row in found if row["state"] == "failed")
    assert (row["reason"], row["attempts"], row["from"], row["to"]) == ("self_check", "2", "1.0.0", "2.0.0")
    assert (row["site"], row["duration (s)"], row["serial"]) == ("Quay, north", "420", device.hardware_id)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_nothing_in_it_is_a_formula(support, text):
    campaign = ended(1)
    Update.objects.update(serial=text, reason_code=text, from_version=text)
    [row] = lines(support.client.get(page("csv", campaign.pk)))
    assert (row["serial"], row["reason"], row["from"]) == ("'" + text,) * 3
    assert safe(None) == ""
    assert safe("1.0.0") == "1.0.0"


def test_is_read_in_pieces_that_the_fleet_does_not_make_larger(support, monkeypatch):
    monkeypatch.setattr(campaign_report, "_CHUNK", 10)
    campaign = ended(35)
    with CaptureQueriesContext(connection) as queries:
        response = support.client.get(page("csv", campaign.pk))
        pieces = list(response.streaming_content)
    assert [piece.count(b"\r\n") for piece in pieces] == [1, 10, 10, 10, 5]
    asked = [each["sql"] for each in queries if "LIMIT 10" in each["sql"]]
    assert len(asked) == 5


def test_a_campaign_without_devices_has_an_empty_file(support):
    campaign = fleet.campaign(fleet.release(), (100,), "completed")
    assert lines(support.client.get(page("csv", campaign.pk))) == []


def _close():
    connection.close()  # that of the thread it is called in


@pytest.mark.django_db(transaction=True)
def test_under_asgi_it_is_streamed_too(monkeypatch):
    monkeypatch.setattr(campaign_report, "_CHUNK", 2)
    campaign, person = ended(5), StaffFactory()

    async def scene():
        client = AsyncClient()
        await client.aforce_login(person)
        response = await client.get(page("csv", campaign.pk))
        assert response.is_async
        pieces = [piece async for piece in response.streaming_content]
        await sync_to_async(_close)()
        return pieces

    assert [piece.count(b"\r\n") for piece in asyncio.run(scene())] == [1, 2, 2, 1]
