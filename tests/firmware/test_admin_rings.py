"""The staff's pages of rings: made, changed, and removed while no campaign used them."""

import pytest

from devices.models import Event, Group
from firmware import planning
from firmware.models import Ring
from tests.devices.desk import ROLES
from tests.factories import TenantFactory
from tests.firmware import fleet
from tests.firmware.office import offers, sit, url

pytestmark = pytest.mark.django_db


@pytest.fixture
def ring():
    return Ring.objects.create(name="Staging", order=1)


def remove(client, ring):
    return client.post(url("ring", "delete", ring.pk), {"post": "yes", "why": "because"})


def test_one_that_no_campaign_used_is_removed_and_that_is_kept(client, ca, ring):
    ring.groups.add(Group.objects.create(tenant=TenantFactory(), name="G"))
    user = sit(client, "Fleet operator")
    assert url("ring", "delete", ring.pk) in client.get(url("ring", "change", ring.pk)).content.decode()
    assert client.get(url("ring", "delete", ring.pk)).status_code == 200
    assert remove(client, ring)["Location"] == url("ring")
    assert not Ring.objects.exists()
    event = Event.objects.get(kind="ring.removed")
    assert (event.user, event.detail["name"]) == (user, "Staging")


def test_one_that_a_campaign_used_is_evidence(client, ca, ring):
    fleet.campaign(fleet.release(), ring=ring)
    sit(client, "Fleet operator")
    assert url("ring", "delete", ring.pk) not in client.get(url("ring", "change", ring.pk)).content.decode()
    assert remove(client, ring).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [ring.pk], "post": "yes", "why": "because"}
    client.post(url("ring"), chosen)
    assert Ring.objects.get() == ring


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"Fleet operator"}))
def test_others_remove_none(client, ca, ring, role):
    sit(client, role)
    assert remove(client, ring).status_code == 403
    assert offers(client, "ring") == set()
    assert Ring.objects.exists()


def test_one_without_groups_is_taken_and_asks_for_nothing(client, ca):
    sit(client, "Fleet operator")
    answer = client.post(url("ring", "add"), {"name": "Later", "order": "3", "groups": []})
    assert answer.status_code == 302
    assert not Ring.objects.get().groups.exists()
    release = fleet.release()
    fleet.devices(1, release)
    assert planning.unpassed_rings(fleet.campaign(release, state="draft")) == []
    assert "Without groups it asks for nothing." in client.get(url("ring", "add")).content.decode()
