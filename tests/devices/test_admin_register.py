"""Registering a device at the admin: by whom, with what, and where it leads."""

import re
import threading
from html import unescape

import pytest
from django.db import connection

from devices import lifecycle
from devices.models import Device, Event, Group
from tests.devices.desk import ROLES, Desk, said, url
from tests.factories import DeviceFactory, DeviceTypeFactory, SiteFactory, StaffFactory, TenantFactory

pytestmark = pytest.mark.django_db
ADD = url("device", "add")


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks):
    return lambda role="Fleet operator": Desk(client, django_capture_on_commit_callbacks, role)


def form(**changes):
    """What somebody types; without a tenant and a type they are made."""
    told = {"hardware_id": " hw-1 ", "name": "", "site": "", "groups": []} | changes
    return told | {
        "tenant": (told.get("tenant") or TenantFactory()).pk,
        "device_type": (told.get("device_type") or DeviceTypeFactory()).pk,
    }


def errors_of(page) -> dict:
    return {field: list(texts) for field, texts in page.context["adminform"].errors.items()}


def test_it_is_registered_by_the_use_case_with_its_groups(desk):
    person, tenant = desk(), TenantFactory()
    site, group = SiteFactory(tenant=tenant), Group.objects.create(tenant=tenant, name="Pilot")
    answer = person.post(ADD, form(tenant=tenant, name="Freezer 3", site=site.pk, groups=[group.pk]))
    device = Device.objects.get()
    assert answer["Location"] == url("device", "change", device.pk)
    assert (device.hardware_id, device.name, device.site) == ("hw-1", "Freezer 3", site)
    assert (list(device.groups.all()), device.state) == ([group], "registered")
    assert Event.objects.get(kind="device.registered").user == person.user
    assert "Freezer 3" in said(answer)


def test_its_page_says_how_it_joins_until_it_has(desk):
    person = desk()
    person.post(ADD, form())
    device = Device.objects.get()
    page = person.page("device", "change", device.pk)
    assert "It joins when it enrols with a" in page
    assert f'{url("devicetoken", "add")}?device={device.pk}">New token…' in page
    assert "it speaks with a certificate" not in page
    claims = re.search(r'enrols with a <a href="([^"]+)">claim', page)[1]
    assert person.client.get(unescape(claims)).status_code == 200
    page = Desk(person.client, None, "Support").page("device", "change", device.pk)
    assert "It joins when it enrols with a" in page
    assert "New token…" not in page
    Device.objects.update(state="active")
    assert "It joins when" not in person.page("device", "change", device.pk)


def test_the_next_one_can_be_registered_at_once(desk):
    assert desk().post(ADD, form(_addanother="yes"))["Location"] == ADD


@pytest.mark.parametrize("role", [role for role in ROLES if role != "Fleet operator"])
def test_is_refused_to_others(desk, role):
    person = desk(role)
    assert person.client.get(ADD).status_code == 403
    assert person.post(ADD, form()).status_code == 403
    assert ADD not in person.page("device", "changelist")
    assert not Device.objects.exists()


def test_the_list_leads_to_the_form_and_what_makes_a_device_who_it_is_stays_fixed(desk):
    person = desk()
    assert f'href="{ADD}"' in person.page("device", "changelist")
    device = DeviceFactory()
    told = form(hardware_id="other", name="New") | {"why": "x", "device_id": "d-other", "state": "active"}
    assert person.post(url("device", "change", device.pk), told).status_code == 302
    changed = Device.objects.get(pk=device.pk)
    assert (changed.hardware_id, changed.tenant, changed.device_type) == (
        device.hardware_id, device.tenant, device.device_type,
    )  # fmt: skip
    assert changed.name == "New"


class TestMistakes:
    def refused(self, desk, **changes):
        before = Device.objects.count()
        page = desk().post(ADD, form(**changes))
        assert (page.status_code, Device.objects.count()) == (200, before)
        return errors_of(page)

    def test_a_hardware_id_that_is_taken_is_said_at_its_field_with_who_has_it(self, desk):
        taken = DeviceFactory(hardware_id="hw-1", name="Freezer 3")
        (text,) = self.refused(desk, device_type=taken.device_type)["hardware_id"]
        assert f"Freezer 3 ({taken.device_id}) of {taken.tenant}, active" in text

    @pytest.mark.parametrize("hardware_id", ["", "  ", "h" * 101, "a\x7fb", "\u202egnp.exe"])
    def test_what_is_no_hardware_id_is_said_at_its_field(self, desk, hardware_id):
        assert list(self.refused(desk, hardware_id=hardware_id)) == ["hardware_id"]

    def test_a_place_or_group_of_another_tenant_is_said_at_its_field(self, desk):
        theirs = Group.objects.create(tenant=TenantFactory(), name="theirs")
        errors = self.refused(desk, site=SiteFactory().pk, groups=[theirs.pk])
        assert set(errors) == {"site", "groups"}
        assert errors["groups"] == ["Of another tenant: theirs."]

    def test_what_is_missing_is_said(self, desk):
        page = desk().post(ADD, {})
        assert {"tenant", "device_type", "hardware_id"} <= set(errors_of(page))


@pytest.mark.django_db(transaction=True)
def test_one_that_enrols_at_this_very_moment_is_first_and_nothing_typed_is_lost(client, monkeypatch):
    tenant, kind = TenantFactory(), DeviceTypeFactory()
    real = lifecycle.register

    def enrol():
        DeviceFactory(tenant=tenant, device_type=kind, hardware_id="hw-1")
        connection.close()

    def late(**told):
        other = threading.Thread(target=enrol)
        other.start()
        other.join()
        return real(**told)

    monkeypatch.setattr(lifecycle, "register", late)
    client.force_login(StaffFactory())
    page = client.post(ADD, form(tenant=tenant, device_type=kind, name="Freezer 3"))
    assert "hardware id already" in errors_of(page)["hardware_id"][0]
    assert 'value="Freezer 3"' in page.content.decode()
    assert Device.objects.count() == 1
