"""Many devices put in order at once: tags, groups, places; with a reason, and evidence of each."""

import pytest

from devices.admin import bulk
from devices.models import Device, Event, Group, Site
from tests.devices.desk import OTHERS, Desk, said
from tests.factories import DeviceFactory, TenantFactory
from tests.fleetportal import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks, ca):
    return lambda role="Fleet operator": Desk(client, django_capture_on_commit_callbacks, role)


@pytest.fixture
def tenant():
    return TenantFactory(name="Acme")


@pytest.fixture
def devices(tenant):
    return [DeviceFactory(tenant=tenant, name=f"Pump {n}", tags=["beta"] if n == 0 else []) for n in range(3)]


def tags(device):
    return Device.objects.values_list("tags", flat=True).get(pk=device.pk)


def test_a_tag_is_given_to_those_that_have_it_not(desk, devices):
    person = desk()
    question = person.act("device", "add_tag", *devices).content.decode()
    assert "Add a tag: 3 selected" in question
    assert f"Pump 1 ({devices[1].device_id}) of Acme" in question
    answer = person.act("device", "add_tag", *devices, reason="Trial", chosen="beta")
    assert "Add a tag: 2 done, 1 were so already or cannot be." in said(answer)
    assert [tags(device) for device in devices] == [["beta"]] * 3
    events = Event.objects.filter(kind="device.tagged")
    assert {(event.device, event.user, event.reason) for event in events} == {
        (device, person.user, "Trial") for device in devices[1:]
    }
    assert events[0].detail == {"changes": {"tags": {"before": [], "after": ["beta"]}}}


def test_a_tag_is_taken_away(desk, devices):
    answer = desk().act("device", "remove_tag", *devices, reason="Over", chosen="beta")
    assert "1 done, 2 were so already" in said(answer)
    assert tags(devices[0]) == []


@pytest.mark.parametrize("word", ["", "North Hall", world.SCRIPT, "x" * 64])
def test_what_is_no_tag_is_said_and_the_reason_is_kept(desk, devices, word):
    page = desk().act("device", "add_tag", *devices, reason="A long reason", chosen=word)
    assert page.context["form"].errors["chosen"]
    assert 'value="A long reason"' in page.content.decode()
    assert world.SCRIPT not in page.content.decode()
    assert Event.objects.filter(kind="device.tagged").count() == 0


def test_the_reason_is_needed(desk, devices):
    page = desk().act("device", "add_tag", *devices, chosen="beta", confirmed="yes").content.decode()
    assert "Say why: it becomes evidence." in page
    assert 'value="beta"' in page
    assert tags(devices[1]) == []


def test_into_a_group_and_out_of_it(desk, devices, tenant):
    group = Group.objects.create(tenant=tenant, name="Pilot")
    person = desk()
    assert "Pilot" in person.act("device", "put_in", *devices).content.decode()
    assert "3 done." in said(person.act("device", "put_in", *devices, reason="Trial", chosen=group.pk))
    assert set(group.devices.all()) == set(devices)
    answer = person.act("device", "take_out", devices[0], reason="Broken", chosen=group.pk)
    assert "1 done." in said(answer)
    assert set(group.devices.all()) == set(devices[1:])
    assert Event.objects.get(kind="device.taken_out_of_group").detail == {"group": "Pilot"}


def test_to_a_site(desk, devices, tenant):
    old, new = Site.objects.create(tenant=tenant, name="Old"), Site.objects.create(tenant=tenant, name="New")
    Device.objects.filter(pk=devices[0].pk).update(site=old)
    Device.objects.filter(pk=devices[1].pk).update(site=new)
    assert "2 done, 1 were so" in said(desk().act("device", "move", *devices, reason="Moved", chosen=new.pk))
    assert set(Device.objects.values_list("site__name", flat=True)) == {"New"}
    event = Event.objects.get(kind="device.moved", device=devices[0])
    assert event.detail == {"changes": {"site": {"before": "Old", "after": "New"}}}


def test_groups_and_sites_of_others_are_not_offered_and_not_taken(desk, devices):
    group = Group.objects.create(tenant=TenantFactory(), name="Theirs")
    person = desk()
    assert "Theirs" not in person.act("device", "put_in", *devices).content.decode()
    page = person.act("device", "put_in", *devices, reason="x", chosen=group.pk)
    assert page.context["form"].errors["chosen"]
    assert group.devices.count() == 0


def test_devices_of_several_tenants_are_not_put_in_one_group(desk, devices):
    answer = desk().act("device", "put_in", devices[0], DeviceFactory())
    assert "of several tenants" in said(answer)


def test_all_that_the_list_shows_are_meant_where_that_was_chosen(desk, devices):
    answer = desk().act(
        "device", "add_tag", devices[0], reason="All", chosen="winter", select_across="1", query="?q=Pump"
    )
    assert "3 done." in said(answer)
    assert Device.objects.filter(tags__contains=["winter"]).count() == 3


def test_is_bounded(desk, devices, monkeypatch):
    monkeypatch.setattr(bulk, "MOST", 2)
    assert "At most 2 devices at once; 3 were chosen" in said(desk().act("device", "add_tag", *devices))


@pytest.mark.parametrize("role", [*OTHERS, "Security officer"])
def test_is_refused_to_others(desk, devices, role):
    person = desk(role)
    assert person.actions("device") & set(bulk.ACTS) == set()
    person.act("device", "add_tag", *devices, reason="me, too", chosen="beta")
    assert tags(devices[1]) == []
