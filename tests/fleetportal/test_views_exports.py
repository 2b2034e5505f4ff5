"""Customers' page of exports: what it lists, what it offers, and what it says of a mistake."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from devices.models import Membership
from fleetportal import views_exports
from telemetry.exporting import exports
from telemetry.models import Export
from tests.factories import DeviceFactory, SchemaFactory, StaffFactory, member

pytestmark = pytest.mark.django_db
PAGE = "/exports/"


@pytest.fixture
def device(days):
    return DeviceFactory(device_type=SchemaFactory().device_type, name="Cold store 1")


@pytest.fixture
def owner(device, client):
    user = member(device.tenant)
    client.force_login(user)
    return user


def told(*devices, **changes):
    today = timezone.now().date()
    form = {"first": str(today - timedelta(days=2)), "last": str(today), "format": "csv", "resolution": "hour"}
    return form | {"device": [each.device_id for each in devices]} | changes


def made(user, device):
    now = timezone.now()
    return exports.request(user, [device.device_id], now - timedelta(days=1), now, "csv", "reading", now)


def ticked(page):
    return re.findall(r'value="(d-[^"]+)" checked', page.content.decode())


def test_nobody_in_particular_is_sent_to_sign_in(client):
    assert client.get(PAGE).status_code == 302


def test_the_navigation_leads_here(client, owner):
    assert f'href="{PAGE}" aria-current="page"' in client.get(PAGE).content.decode()


def test_a_devices_page_preselects_it(client, device, owner):
    DeviceFactory(tenant=device.tenant)
    page = client.get(PAGE, {"device": device.device_id})
    assert ticked(page) == [device.device_id]


def test_the_days_of_a_chart_come_with_it(client, device, owner):
    def days(**asked):
        form = client.get(PAGE, {"device": device.device_id, **asked}).context["form"]
        return [str(form.initial[name]) for name in ("first", "last")]

    assert days(first="2026-03-01", last="2026-03-04") == ["2026-03-01", "2026-03-04"]
    usual = days()
    assert days(first="2026-02-30", last="yesterday") == usual


def test_only_where_more_devices_match_than_are_listed_it_says_so(client, device, owner, monkeypatch):
    assert "are listed" not in client.get(PAGE).content.decode()
    monkeypatch.setattr(views_exports, "OFFERED", 1)
    assert "are listed" not in client.get(PAGE).content.decode()
    DeviceFactory(tenant=device.tenant, device_type=device.device_type, name="Another")
    page = client.get(PAGE)
    assert "The first 1 are listed" in page.content.decode() and len(page.context["devices"]) == 1


def test_a_foreign_device_is_neither_offered_nor_ticked(client, owner):
    foreign = DeviceFactory(name="Foreign freezer")
    page = client.get(PAGE, {"device": foreign.device_id})
    assert ticked(page) == []
    assert "Foreign freezer" not in page.content.decode()
    answer = client.post(PAGE, told(foreign))
    assert answer.status_code == 400
    assert "no such device" in answer.content.decode()
    assert not Export.objects.exists()


def test_one_is_asked_for_in_whole_days(client, device, owner):
    answer = client.post(PAGE, told(device))
    assert (answer.status_code, answer["Location"]) == (302, PAGE)
    export = Export.objects.get()
    assert (export.requested_by, export.resolution, list(export.devices.all())) == (owner, "hour", [device])
    assert (export.since.hour, export.since.minute, export.since.second) == (0, 0, 0)
    assert export.until > timezone.now()
    assert "It is being made" in client.get(PAGE).content.decode()


def test_a_search_keeps_what_is_ticked_and_makes_nothing(client, device, owner):
    wanted = DeviceFactory(tenant=device.tenant, name="Loading bay")
    page = client.post(PAGE, told(device, q="loading", find="1"))
    text = page.content.decode()
    assert page.status_code == 200
    assert ticked(page) == [device.device_id]
    assert wanted.device_id in text
    assert 'class="error"' not in text
    assert not Export.objects.exists()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"device": []}, "Choose at least one device"),
        ({"first": "2031-01-01"}, "it ends before it begins"),
        ({"first": "2020-01-01"}, "At most 400 days"),
        ({"first": "yesterday"}, "Enter a valid date"),
        ({"last": "9999-12-31"}, "less than or equal"),
        ({"format": "xlsx"}, "Select a valid choice"),
    ],
)
def test_a_mistake_is_told_and_nothing_typed_is_lost(client, device, owner, changes, word):
    page = client.post(PAGE, told(device, **changes))
    text = page.content.decode()
    assert page.status_code == 400
    assert word in text
    assert ticked(page) == ([] if "device" in changes else [device.device_id])
    assert '<option value="hour" selected>' in text
    assert not Export.objects.exists()


def test_progress_moves_by_itself_and_ends(client, device, owner):
    export = made(owner, device)
    assert "data-moves" in client.get(PAGE).content.decode()
    exports.run(export.pk)
    text = client.get(PAGE).content.decode()
    assert "data-moves" not in text
    assert reverse("export-file", args=[export.pk]) in text


def test_it_is_removed_by_who_asked_and_not_by_a_colleague(client, device, owner):
    export = made(owner, device)
    address = reverse("export-remove", args=[export.pk])
    client.force_login(member(device.tenant, Membership.Role.VIEWER))
    assert address not in client.get(PAGE).content.decode()
    assert client.post(address).status_code == 403
    client.force_login(member(DeviceFactory().tenant))
    assert client.post(address).status_code == 404
    client.force_login(owner)
    assert client.get(address).status_code == 405
    assert client.post(address).status_code == 302
    assert Export.objects.get().state == "canceled"


def test_other_tenants_do_not_see_it(client, device, owner):
    made(owner, device)
    client.force_login(member(DeviceFactory().tenant))
    text = client.get(PAGE).content.decode()
    assert "Cold store 1" not in text


def test_staff_see_whose_it_is(client, device, owner):
    made(owner, device)
    client.force_login(StaffFactory())
    assert str(device.tenant) in client.get(PAGE).content.decode()
