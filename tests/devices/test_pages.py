"""Pages of a list: forth and back, however many rows are alike, and whatever stands in the address."""

import json
from base64 import urlsafe_b64encode
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from devices.models import Device, Event
from devices.pages import Pages
from tests.factories import DeviceFactory, StaffFactory, TenantFactory

pytestmark = pytest.mark.django_db
LIST = "/api/v1/devices"


@pytest.fixture
def devices(client):
    client.force_login(StaffFactory())
    tenant = TenantFactory()
    names = ["", "", "", "a", "a", "ä", "B", "z"]
    return [DeviceFactory(name=name, tenant=tenant) for name in names]


def walk(client, address, way="next"):
    found = []
    while address:
        told = client.get(address).json()
        found.append([each["device_id"] for each in told["results"]])
        last, address = address, told[way]
    return found, last


@pytest.mark.parametrize("order", ["name", "-name", "device_id", "-device_id"])
@pytest.mark.parametrize("limit", [1, 3, 8])
def test_every_row_comes_once_and_in_order_forth_and_back(client, devices, order, limit):
    names = ["name", "device_id"] if order.endswith("name") else ["device_id"]
    wanted = list(Device.objects.order_by(*names).values_list("device_id", flat=True))
    wanted = wanted[::-1] if order.startswith("-") else wanted
    pages, last = walk(client, f"{LIST}?ordering={order}&limit={limit}")
    assert [each for page in pages for each in page] == wanted
    assert all(len(page) == limit for page in pages[:-1])
    back, _ = walk(client, last, "previous")
    assert [each for page in reversed(back) for each in page] == wanted


def test_a_row_that_comes_before_meanwhile_moves_no_other(client, devices):
    first = client.get(f"{LIST}?ordering=device_id&limit=3").json()
    DeviceFactory(device_id="d-000")
    second = client.get(first["next"]).json()
    assert not {each["device_id"] for each in first["results"]} & {each["device_id"] for each in second["results"]}


def test_filters_stay_in_the_addresses(client, devices):
    told = client.get(f"{LIST}?limit=1&q=a&ordering=-name").json()
    asked = parse_qs(urlsplit(told["next"]).query)
    assert (asked["q"], asked["limit"], asked["ordering"]) == (["a"], ["1"], ["-name"])
    assert told["previous"] is None


@pytest.mark.parametrize("limit", ["0", "-1", "201", "x", "1.5", "9" * 30, "", "٣"])
def test_refuses_a_limit_that_is_none(client, devices, limit):
    answer = client.get(LIST, {"limit": limit})
    assert (answer.status_code, answer.json()["path"]) == (400, "$.limit")


@pytest.mark.parametrize(
    "cursor",
    ["garbage", "=", "e30", "W10", "WzBd", "WzAsMV0", "WzAsIngiXQ", "WzIsImEiLCJiIl0", "WzAsIlx1MDAwMCIsImQiXQ", "%ff",
     "WzAsIlx1ZDgwMCIsImQiXQ", "x" * 2000, "ä"],
)  # fmt: skip
def test_refuses_a_place_that_is_none(client, devices, cursor):
    answer = client.get(LIST, {"cursor": cursor})
    assert (answer.status_code, answer.json()["error_code"], answer.json()["path"]) == (400, "invalid", "$.cursor")


@pytest.mark.parametrize(
    "told", ['[0,"x"]', '[0,"99999999999999999999999"]', '[0,"1","2"]', "[0]", "[0,null]", "[0,1e9]"]
)
def test_refuses_a_place_of_another_kind(rf, told):

    cursor = urlsafe_b64encode(told.encode()).decode()
    with pytest.raises(ValidationError):
        Pages(Request(rf.get("/", {"cursor": cursor})), ["-id"]).find(Event.objects.all())


def test_is_found_by_the_index_however_deep_it_is(client, devices):
    """Rows before the place are not read: 5,000 of the same name, and the page is after them."""
    tenant, kind = devices[0].tenant, devices[0].device_type
    rows = [Device(device_id=f"e-{n:05}", hardware_id=f"e-{n}", tenant=tenant, device_type=kind) for n in range(5000)]
    Device.objects.bulk_create(rows)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE devices_device")
    told = client.get(f"{LIST}?limit=200&ordering=device_id").json()
    assert len(told["results"]) == 200
    with CaptureQueriesContext(connection) as queries:
        told = client.get(f"{LIST}?limit=10&cursor={_behind('', 'e-04900')}").json()
    assert told["results"][0]["device_id"] == "e-04901"
    (asked,) = [each["sql"] for each in queries if "ROW(" in each["sql"]]
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + asked)
        plan = cursor.fetchone()[0][0]["Plan"]
    assert _read(plan) < 200, plan


def _behind(*place):

    return urlsafe_b64encode(json.dumps([0, *place]).encode()).rstrip(b"=").decode()


def _read(plan):
    """Rows of the devices' table that the plan read."""
    own = (
        plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        if plan.get("Relation Name") == "devices_device"
        else 0
    )
    return own * plan["Actual Loops"] + sum(_read(each) for each in plan.get("Plans", ()))
