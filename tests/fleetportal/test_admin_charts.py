"""The chart on a device's page of the staff: the one that customers have, with the changes of firmware on it."""

import json
import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.factories import SchemaFactory, StaffFactory, member
from tests.firmware import fleet

pytestmark = pytest.mark.django_db


@pytest.fixture
def device():
    schema = SchemaFactory()
    (found,) = fleet.devices(1, schema.device_type)
    return found


def marks_on(client, address):
    page = client.get(address).content.decode()
    found = re.search(r'id="chart-marks".*?<script id="marks" type="application/json">(.*?)</script>', page)
    return json.loads(found[1]) if found else []


def test_marks_when_the_firmware_changed_as_customers_see_it(client, device):
    now = timezone.now().replace(microsecond=0)
    for version, state, ago in (("1.1.0", "succeeded", 3), ("1.2.0", "succeeded", 2), ("1.3.0", "failed", 1)):
        campaign = fleet.campaign(fleet.release(version, device.device_type))
        fleet.offered(campaign, [device], state, ended_at=now - timedelta(hours=ago))
    expected = [
        {"at": int((now - timedelta(hours=ago)).timestamp() * 1000), "version": version}
        for version, ago in (("1.2.0", 2), ("1.1.0", 3))
    ]
    client.force_login(StaffFactory())
    assert marks_on(client, reverse("admin:devices_device_change", args=[device.pk])) == expected
    client.force_login(member(device.tenant))
    assert marks_on(client, reverse("device", args=[device.device_id])) == expected


def test_without_a_change_there_is_no_mark(client, device):
    client.force_login(StaffFactory())
    assert marks_on(client, reverse("admin:devices_device_change", args=[device.pk])) == []
