"""What tests of audits share: one run, and what is open afterwards."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from django.utils import timezone

from devices import pki
from devices.models import Certificate, Finding
from operations import audits
from tests.factories import DeviceFactory


@pytest.fixture
def audited():
    """Run one audit (by name, at `now`); returns the open findings as {(kind, device or None, subject): severity}."""

    def run(name, now=None):
        (ran,) = audits.run(now or timezone.now(), [name])
        assert ran.state == "done", ran
        return opened()

    return run


def opened():
    rows = Finding.objects.filter(resolved_at__isnull=True).values_list("kind", "device", "subject", "severity")
    return {(kind, device, subject): severity for kind, device, subject, severity in rows}


@pytest.fixture
def certificate(ca):
    """Make a device (or take one) with an active certificate; `changes` are of the row, whatever its PEM says."""

    def make(device=None, key=None, **changes):
        device, now = device or DeviceFactory(), timezone.now()
        public = (key or pki.new_key()).public_key()
        leaf = pki.sign_device(device.device_id, public, ca.certificate, ca.key, timedelta(days=365), now)
        columns = {
            "serial": pki.serial_text(leaf),
            "fingerprint": leaf.fingerprint(hashes.SHA256()).hex(),
            "key_fingerprint": pki.key_fingerprint(public),
            "pem": pki.pem(leaf),
            "not_before": leaf.not_valid_before_utc,
            "not_after": leaf.not_valid_after_utc,
            "renew_at": now + timedelta(days=270),
            "state": Certificate.State.ACTIVE,
        }
        return Certificate.objects.create(device=device, authority=ca.row, **(columns | changes))

    return make
