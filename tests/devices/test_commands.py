"""What operators type: the rotation's dry run, and having it done."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from devices import certificates, pki
from devices.models import Certificate, Group, Renewal
from tests.devices import peers
from tests.factories import DeviceFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(ca):
    device = DeviceFactory()
    certificates.issue(device, pki.read_request(peers.csr().encode()), timezone.now())
    return device


def rotate(*arguments):
    out = StringIO()
    call_command("rotate_certificates", *arguments, stdout=out)
    return out.getvalue()


def test_a_dry_run_names_who_and_when_and_changes_nothing(device):
    assert rotate("--dry-run") == "0 renewals; nothing was changed.\n"
    Certificate.objects.update(renew_at=timezone.now() + timedelta(days=3))
    told = rotate("--dry-run", "--days", "4")
    assert device.device_id in told and "1 renewals" in told
    assert not Renewal.objects.exists()


@pytest.mark.parametrize("chosen", ["device", "group", "type", "authority"])
def test_chosen_devices_are_asked_now(device, chosen):
    other = DeviceFactory()
    group = Group.objects.create(tenant=device.tenant, name="north")
    device.groups.add(group)
    value = {
        "device": device.device_id,
        "group": "north",
        "type": device.device_type.slug,
        "authority": device.certificates.get().authority.name,
    }[chosen]
    told = rotate(f"--{chosen}", value)
    assert "1 devices, 1 renewals opened" in told and "due" in told
    assert Renewal.objects.get().device == device != other


def test_nobody_meant_is_an_error(device):
    with pytest.raises(CommandError, match="No device"):
        rotate("--device", "d-nobody")
