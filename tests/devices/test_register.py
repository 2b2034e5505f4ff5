"""A device is registered before it first speaks; whoever was first with a hardware id keeps it."""

import pytest
from django.utils import timezone

from devices import claims, enrollment, lifecycle, tokens
from devices.errors import DeviceError, ProvisioningError
from devices.models import Device, Event
from devices.models.fields import is_hardware_id
from tests.devices import bearers, peers
from tests.factories import DeviceTypeFactory, SiteFactory, StaffFactory, TenantFactory

pytestmark = pytest.mark.django_db


def register(tenant=None, device_type=None, hardware_id="hw-1", user=None, **told):
    tenant, device_type = tenant or TenantFactory(), device_type or DeviceTypeFactory()
    return lifecycle.register(tenant=tenant, device_type=device_type, hardware_id=hardware_id, user=user, **told)


def enroll(device, hardware_id="hw-1", tenant=None):
    claim = claims.of_token(peers.claim_token(tenant or device.tenant, device.device_type))
    return enrollment.enroll(claim, device.device_type.slug, hardware_id, peers.csr().encode(), timezone.now()).device


def refusal(call, *args, **told):
    with pytest.raises((DeviceError, ProvisioningError)) as error:
        call(*args, **told)
    return error.value.code, error.value.status


def test_it_has_an_id_a_presence_a_place_and_evidence():
    tenant, user = TenantFactory(), StaffFactory()
    site = SiteFactory(tenant=tenant)
    device = register(tenant, name="Freezer 3", site=site, user=user)
    device = Device.objects.get(pk=device.pk)
    assert (device.state, device.name, device.site, device.claim) == ("registered", "Freezer 3", site, None)
    assert device.device_id.startswith("d-") and not device.presence.online
    event = Event.objects.get()
    assert (event.kind, event.device, event.user, event.detail) == (
        "device.registered", device, user, {"hardware_id": "hw-1"},
    )  # fmt: skip


@pytest.mark.usefixtures("ca")
def test_it_joins_when_it_enrols_and_keeps_what_it_was_given():
    device = register(name="Freezer 3")
    assert enroll(device) == device
    device.refresh_from_db()
    assert (device.state, device.name) == ("active", "Freezer 3") and device.claim is not None


def test_it_joins_when_it_first_uses_a_token():
    device = register()
    bearers.use(tokens.make(device, timezone.now())[1], timezone.now())
    assert Device.objects.get().state == "active"


@pytest.mark.usefixtures("ca")
def test_without_a_name_it_is_called_as_one_that_enrols_unannounced():
    device = register(device_type=DeviceTypeFactory(name="Pump"))
    other = enroll(device, "hw-2")
    assert (device.name, other.name) == ("Pump hw-1", "Pump hw-2")


@pytest.mark.usefixtures("ca")
def test_a_hardware_id_is_registered_once_a_type_whoever_has_it():
    device = register()
    assert refusal(register, device_type=device.device_type) == ("hardware_id_taken", 409)
    assert register(device.tenant, hardware_id="hw-1").device_type != device.device_type
    assert refusal(enroll, device, tenant=TenantFactory()) == ("hardware_id_taken", 409)
    assert Event.objects.filter(kind="device.registered").count() == 2


@pytest.mark.parametrize("hardware_id", ["", "h" * 101, "a\0b", "a\nb", "\u202egnp.exe"])
def test_it_is_judged_as_enrolment_judges(hardware_id):
    assert not is_hardware_id(hardware_id)
    assert refusal(register, hardware_id=hardware_id) == ("hardware_id", 400)
    assert not Device.objects.exists()


def test_a_site_of_another_tenant_is_refused():
    assert refusal(register, site=SiteFactory()) == ("site_of_another", 409)


def test_hardware_that_comes_by_replacement_is_registered_the_same_way():
    old = register()
    new = lifecycle.replace(old, "hw-2", "RMA", None, timezone.now())
    assert new.presence.online is False
    assert [event.kind for event in new.events.order_by("pk")] == ["device.registered", "device.replaces"]
    assert refusal(lifecycle.replace, new, "a\nb", "RMA", None, timezone.now()) == ("hardware_id", 400)
    assert Device.objects.get(pk=new.pk).state == "registered"
