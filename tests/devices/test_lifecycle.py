"""Replacement (RMA): new hardware takes a device's place, whichever of the two comes first."""

import pytest
from django.utils import timezone

from devices import certificates, claims, enrollment, lifecycle, pki
from devices.errors import DeviceError
from devices.models import Device, DeviceToken, Event, Group
from tests.devices import peers
from tests.factories import DeviceFactory, SiteFactory, StaffFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def old(ca):
    device = DeviceFactory(hardware_id="broken", name="Freezer 3")
    device.site = SiteFactory(tenant=device.tenant)
    device.save()
    device.groups.add(Group.objects.create(tenant=device.tenant, name="north"))
    certificates.issue(device, pki.read_request(peers.csr().encode()), timezone.now())
    return device


def replace(old, hardware_id="new", user=None):
    return lifecycle.replace(old, hardware_id, "water damage", user, timezone.now())


def enroll(old, hardware_id="new"):
    token = peers.claim_token(old.tenant, old.device_type)
    claim = claims.of_token(token)
    return enrollment.enroll(claim, old.device_type.slug, hardware_id, peers.csr().encode(), timezone.now()).device


def check(old, new):
    old.refresh_from_db()
    new.refresh_from_db()
    assert (new.name, new.site, [str(group) for group in new.groups.all()]) == ("Freezer 3", old.site, ["north"])
    assert (new.replaces, old.replaced_by, old.state) == (old, new, "decommissioned")
    assert old.certificates.get().state == "revoked"
    assert new.device_id != old.device_id


def test_the_new_hardware_may_come_later(old):
    staff = StaffFactory()
    new = replace(old, user=staff)
    assert new.state == "registered"
    assert enroll(old) == new
    new.refresh_from_db()
    assert new.state == "active" and new.claim is not None
    check(old, new)
    kinds = ["device.replaced", "device.decommissioned", "device.replaces"]
    events = Event.objects.filter(kind__in=kinds)
    assert {(event.kind, event.user, event.reason) for event in events} == {
        (kind, staff, "water damage") for kind in kinds
    }


def test_the_new_hardware_may_be_there_already(old):
    new = enroll(old)
    assert replace(old) == new
    check(old, new)
    new.refresh_from_db()
    assert new.state == "active"


def refusal(*args):
    with pytest.raises(DeviceError) as error:
        replace(*args)
    return error.value.code


def test_not_by_itself_nor_after_its_end_nor_by_a_strangers_device(old):
    assert refusal(old, "broken") == "hardware_id_taken"
    DeviceFactory(device_type=old.device_type, hardware_id="strangers")
    assert refusal(old, "strangers") == "hardware_id_taken"
    replace(old)
    assert refusal(old, "newer") == "device_not_active"
    assert Device.objects.filter(device_type=old.device_type).count() == 3


def test_not_by_one_that_took_anothers_place_before(old):
    other = DeviceFactory(tenant=old.tenant, device_type=old.device_type)
    replace(other, "new")
    assert refusal(old, "new") == "hardware_id_taken"
    old.refresh_from_db()
    assert old.state == "active"


def test_a_replacement_can_be_replaced(old):
    first = replace(old, "first")
    second = replace(first, "second")
    assert second.replaces == first and first.replaces == old


def test_a_decommissioned_device_loses_its_tokens(old):
    DeviceToken.objects.create(device=old, prefix="fpd_x", token_hash="h", expires_at=timezone.now())
    lifecycle.decommission(old, "sold", None, timezone.now())
    assert DeviceToken.objects.get().revoked_at is not None
