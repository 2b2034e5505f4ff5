from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from telemetry.store import store
from tests.factories import DeviceFactory, SchemaFactory, StaffFactory, UserFactory, member
from tests.telemetry.messages import row

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(days):
    schema = SchemaFactory()
    device = DeviceFactory(device_type=schema.device_type)
    now = timezone.now()
    with transaction.atomic():
        store([row(device, schema, now - timedelta(seconds=each), each) for each in (5, 100, 5000)])
    return device


def ask(client, user, device_id, **query):
    if user:
        client.force_login(user)
    return client.get(f"/api/v1/devices/{device_id}/series", query)


def test_a_member_gets_the_last_quarter_of_an_hour(client, device):
    answer = ask(client, member(device.tenant), device.device_id)
    assert answer.status_code == 200
    body = answer.json()
    assert body["values"]["temperature_c"] == [100.0, 5.0]
    assert body["step_ms"] == 1500
    assert body["times"] == sorted(body["times"])


@pytest.mark.parametrize(("seconds", "count"), [(10, 1), (200, 2), (31 * 86400, 2)])
def test_the_range_is_asked_for_in_seconds(client, device, seconds, count):
    values = ask(client, member(device.tenant), device.device_id, seconds=seconds).json()["values"]["temperature_c"]
    assert len(values) == count


@pytest.mark.parametrize("seconds", ["9", str(31 * 86400 + 1), "-1", "abc", "1e3", "9" * 400])
def test_another_range_is_a_mistake_of_the_caller(client, device, seconds):
    answer = ask(client, member(device.tenant), device.device_id, seconds=seconds)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid")
    assert list(answer.json()["errors"]) == ["seconds"]


def test_a_device_of_another_tenant_is_not_there(client, device):
    stranger = member(DeviceFactory().tenant)
    foreign, missing = (ask(client, stranger, each) for each in (device.device_id, "d-nobody"))
    assert (foreign.status_code, missing.status_code) == (404, 404)
    a, b = foreign.json(), missing.json()
    assert a.pop("correlation_id") != b.pop("correlation_id")
    assert a == b  # nobody can tell the two apart


def test_without_a_membership_nothing_is_there(client, device):
    assert ask(client, UserFactory(), device.device_id).status_code == 404


def test_staff_see_every_device(client, device):
    assert ask(client, StaffFactory(), device.device_id).status_code == 200


def test_somebody_not_signed_in_is_refused(client, device):
    answer = ask(client, None, device.device_id)
    assert answer.status_code in (401, 403)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_device_without_readings_has_none(client, days):
    device = DeviceFactory()
    body = ask(client, member(device.tenant), device.device_id).json()
    assert (body["times"], body["values"]) == ([], {})
