"""Newest values and readings one by one, over the API."""

import json
from datetime import timedelta

import pytest
from django.db import transaction

from devices.models import Membership
from telemetry.store import store
from tests.devices.api.programs import caller
from tests.factories import DeviceFactory, SchemaFactory, member
from tests.telemetry.messages import noon, row

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def device(days):
    schema = SchemaFactory()
    return DeviceFactory(device_type=schema.device_type)


@pytest.fixture
def viewer(device, client):
    user = member(device.tenant, "viewer")
    client.force_login(user)
    return user


def say(device, count, value=20, **more):
    schema = device.device_type.schemas.get()
    rows = [row(device, schema, noon() + n * MINUTE, value + n, **more) for n in range(count)]
    with transaction.atomic():
        store(rows)
    return [noon() + n * MINUTE for n in range(count)]


def readings(client, device, **asked):
    asked = {"since": (noon() - 60 * MINUTE).isoformat(), "until": (noon() + 60 * MINUTE).isoformat()} | asked
    return client.get(f"/api/v1/devices/{device.device_id}/readings", asked)


class TestReadings:
    def test_are_told_by_metric_newest_first(self, client, device, viewer):
        say(device, 2, extra=json.dumps({"note": "<b>"}))
        told = readings(client, device).json()["results"]
        assert [each["values"]["temperature_c"] for each in told] == [21, 20]
        assert told[0]["values"]["note"] == "<b>"
        assert told[0]["clock_suspect"] is False
        oldest = readings(client, device, order="oldest").json()["results"]
        assert oldest == told[::-1]

    def test_are_of_the_kind_that_the_schema_says(self, client, device, viewer):
        say(device, 1, metrics=[4.5, None, 1.0])
        (told,) = readings(client, device).json()["results"]
        assert told["values"] == {"temperature_c": 4.5, "door_open": True}

    @pytest.mark.parametrize("order", ["newest", "oldest"])
    def test_come_page_by_page(self, client, device, viewer, order):
        say(device, 5)
        answer, found = readings(client, device, limit=2, order=order).json(), []
        while True:
            found += [each["values"]["temperature_c"] for each in answer["results"]]
            if not answer["next"]:
                break
            answer = client.get(answer["next"]).json()
        assert found == ([24, 23, 22, 21, 20] if order == "newest" else [20, 21, 22, 23, 24])

    def test_are_of_the_range_that_was_asked_for(self, client, device, viewer):
        times = say(device, 4)
        told = readings(client, device, since=times[1].isoformat(), until=times[3].isoformat()).json()["results"]
        assert [each["values"]["temperature_c"] for each in told] == [22, 21]

    @pytest.mark.parametrize(
        ("asked", "path"),
        [
            ({"since": "yesterday"}, "$.since"),
            ({"until": "2026-11-21"}, "$.until"),
            ({"since": "2026-11-21T10:00:00Z", "until": "2026-11-21T10:00:00Z"}, "$.since"),
            ({"order": "odd"}, "$.order"),
            ({"limit": 1001}, "$.limit"),
            ({"cursor": "x"}, "$.cursor"),
        ],
    )
    def test_what_is_wrong_is_named(self, client, device, viewer, asked, path):
        answer = readings(client, device, **asked)
        assert (answer.status_code, answer.json()["path"]) == (400, path)

    def test_cost_the_same_however_many(self, client, device, viewer, django_assert_max_num_queries):
        say(device, 50)
        with django_assert_max_num_queries(6):
            assert len(readings(client, device, limit=200).json()["results"]) == 50

    def test_of_another_tenant_are_not_there(self, client, device, viewer):
        other = DeviceFactory(device_type=device.device_type)
        say(other, 1)
        assert readings(client, other).status_code == 404
        Membership.objects.all().delete()
        assert readings(client, device).status_code == 404

    def test_need_the_scope(self, device, viewer):
        assert readings(caller(viewer, device.tenant, "devices:read"), device).status_code == 403
        assert readings(caller(viewer, device.tenant, "readings:read"), device).status_code == 200


class TestLatest:
    def address(self, device):
        return f"/api/v1/devices/{device.device_id}/latest"

    def test_has_labels_and_units(self, client, device, viewer):
        say(device, 1)
        told = client.get(self.address(device)).json()
        assert told["device_id"] == device.device_id
        assert told["values"][0] == {
            "name": "temperature_c", "label": "temperature_c", "unit": "°C", "kind": "number", "value": 20.0
        }  # fmt: skip

    def test_is_sent_again_only_when_it_changed(self, client, device, viewer):
        say(device, 1)
        tag = client.get(self.address(device))["ETag"]
        assert client.get(self.address(device), headers={"If-None-Match": tag}).status_code == 304
        say(device, 2)
        assert client.get(self.address(device), headers={"If-None-Match": tag}).status_code == 200

    def test_of_a_device_that_never_spoke_is_empty(self, client, device, viewer):
        told = client.get(self.address(device)).json()
        assert told == {"device_id": device.device_id, "at": None, "received_at": None, "values": []}


class TestTypes:
    def test_tell_the_metrics_of_the_newest_schema(self, client, device, viewer):
        SchemaFactory(device_type=device.device_type, version=2)
        DeviceFactory(device_type=SchemaFactory().device_type)
        (told,) = client.get("/api/v1/device-types").json()["results"]
        assert (told["slug"], told["schema_version"]) == (device.device_type.slug, 2)
        assert [each["name"] for each in told["metrics"]] == ["temperature_c", "humidity_pct", "door_open", "note"]
        assert told["metrics"][0]["minimum"] == -60
        answer = client.get(told["url"])
        assert answer.json() == told
        assert client.get(told["url"], headers={"If-None-Match": answer["ETag"]}).status_code == 304

    def test_without_a_schema_there_are_none(self, client, device, viewer):
        other = DeviceFactory(tenant=device.tenant)
        told = client.get(f"/api/v1/device-types/{other.device_type.slug}").json()
        assert (told["schema_version"], told["metrics"]) == (None, [])

    def test_of_others_are_not_there(self, client, device, viewer):
        assert client.get(f"/api/v1/device-types/{DeviceFactory().device_type.slug}").status_code == 404
