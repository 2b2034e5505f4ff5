"""Tags on the staff's pages of devices, and the two kinds of windows of a group."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from devices.models import Device, Group, MaintenanceWindow
from tests.devices.desk import url
from tests.factories import DeviceFactory, DeviceTypeFactory, StaffFactory, TenantFactory

pytestmark = pytest.mark.django_db
LIST = reverse("admin:devices_device_changelist")


@pytest.fixture(autouse=True)
def root(client, ca):
    user = StaffFactory()
    client.force_login(user)
    return user


def tag(client, device, words):
    return client.post(url("device", "change", device.pk), {"name": device.name, "tags": words, "why": "x"})


def test_tags_are_typed_with_commas_and_kept_once_in_order(client):
    device = DeviceFactory()
    assert tag(client, device, "north, beta,north").status_code == 302
    assert Device.objects.get().tags == ["beta", "north"]
    assert "beta,north" in client.get(url("device", "change", device.pk)).content.decode()
    assert tag(client, device, "").status_code == 302
    assert Device.objects.get().tags == []


@pytest.mark.parametrize(
    ("words", "why"), [("north hall,beta", "lower-case letters"), (",".join(f"t{n}" for n in range(21)), "At most 20")]
)
def test_what_is_no_tag_is_said_at_the_field(client, words, why):
    answer = tag(client, DeviceFactory(), words)
    assert why in str(answer.context["adminform"].form.errors["tags"].data)
    assert Device.objects.get().tags == []


def test_a_new_device_has_its_tags_at_once(client):
    told = {"tenant": TenantFactory().pk, "device_type": DeviceTypeFactory().pk, "hardware_id": "sn-1"}
    client.post(url("device", "add"), told | {"name": "", "tags": "beta"})
    assert Device.objects.get().tags == ["beta"]


def test_the_list_is_narrowed_by_a_whole_tag_and_keeps_the_other_filters(client):
    device, other = DeviceFactory(tags=["beta", "north"]), DeviceFactory(tags=["betamax"])
    DeviceFactory(tags=["beta"], state="quarantined")

    def listed(**query):
        return list(client.get(LIST, query).context["cl"].result_list)

    assert listed(tag="beta", state__exact="active") == [device]
    assert listed(tag="betamax") == [other]
    assert listed(tag="'; --") == []
    assert len(listed(tag="")) == 3
    page = client.get(LIST, {"tag": "beta", "state__exact": "active", "q": "Device"}).content.decode()
    form = page[page.index('class="top-filters"') :].split("</form>")[0]
    assert '<input type="hidden" name="state__exact" value="active">' in form
    assert '<input type="hidden" name="q" value="Device">' in form
    assert 'value="beta"' in form


def test_devices_with_a_tag_are_found_by_its_index(client):
    DeviceFactory(tags=["beta"])
    with CaptureQueriesContext(connection) as queries:
        client.get(LIST, {"tag": "beta"})
    assert any('"tags" @>' in query["sql"] for query in queries)


def test_a_window_says_of_which_kind_it_is_and_what_that_means(client):
    group = Group.objects.create(tenant=TenantFactory(), name="Pilot")
    address = url("group", "change", group.pk)
    page = client.get(address).content.decode()
    assert "firmware is offered to it in an open slot only" in page
    told = {"tenant": group.tenant_id, "name": "Pilot", "why": "x"}
    told |= {"windows-TOTAL_FORMS": 1, "windows-INITIAL_FORMS": 0}
    window = {"kind": "slot", "weekdays": "67", "starts": "02:00", "minutes": "180", "timezone": "Europe/Berlin"}
    client.post(address, told | {f"windows-0-{name}": value for name, value in window.items()})
    row = MaintenanceWindow.objects.get()
    assert (row.kind, row.weekdays, row.timezone) == ("slot", "67", "Europe/Berlin")
