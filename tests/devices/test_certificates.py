import base64
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import IntegrityError, InternalError, transaction
from django.utils import timezone

from devices import certificates, contract, pki
from devices.models import Certificate, Event, Finding
from tests.devices import peers
from tests.factories import DeviceFactory, StaffFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@pytest.fixture
def key():
    return pki.new_key()


@pytest.fixture
def device(ca):
    return DeviceFactory()


@pytest.fixture
def certificate(device, key):
    return certificates.issue(device, pki.read_request(peers.csr(key).encode()), NOW)


def birth(device, key, serial, **changes):
    """A status whose proof was made with this key."""
    told = {"session": 3, "boot_id": "b"} | changes
    statement = contract.proof_statement(device.device_id, 3, "b", serial)
    proof = base64.b64encode(key.sign(statement, ec.ECDSA(hashes.SHA256()))).decode()
    return contract.Status(contract.State.ONLINE, ts=0, certificate=contract.CertificateProof(serial, proof), **told)


def prove(device, status, now=NOW):
    row = certificates.judge(device.pk, device.device_id, status, certificates.claimed([(device.pk, status)]))
    if row is not None:
        certificates.seen(row, "A birth", now)


def test_a_certificate_is_pending_until_the_device_proves_it(device, key, certificate):
    prove(device, birth(device, key, certificate.serial))
    certificate.refresh_from_db()
    assert (certificate.state, certificate.first_seen_at) == ("active", NOW)
    assert Event.objects.get(kind="certificate.proven").device == device
    assert not Finding.objects.exists()


def test_proving_it_again_changes_nothing(device, key, certificate):
    prove(device, birth(device, key, certificate.serial))
    prove(device, birth(device, key, certificate.serial), NOW + timedelta(hours=1))
    certificate.refresh_from_db()
    assert certificate.first_seen_at == NOW
    assert Event.objects.filter(kind="certificate.proven").count() == 1


def test_a_birth_without_a_proof_says_nothing_about_certificates(device, certificate):
    prove(device, contract.Status(contract.State.ONLINE, 3, "b", 0))
    certificate.refresh_from_db()
    assert certificate.state == "pending"
    assert not Finding.objects.exists()


@pytest.mark.parametrize("changes", [{"session": 4}, {"boot_id": "c"}], ids=str)
def test_a_proof_of_another_connection_is_false(device, key, certificate, changes):
    """A recorded proof cannot be replayed."""
    prove(device, birth(device, key, certificate.serial, **changes))
    certificate.refresh_from_db()
    assert certificate.state == "pending"
    assert Finding.objects.get().kind == "certificate_proof_false"


def test_a_proof_with_another_key_an_unknown_serial_or_anothers_certificate_is_false(device, key, certificate):
    other = DeviceFactory()
    prove(device, birth(device, pki.new_key(), certificate.serial))
    prove(device, birth(device, key, "abc"))
    prove(other, birth(other, key, certificate.serial))
    certificate.refresh_from_db()
    assert certificate.state == "pending"
    assert sorted(Finding.objects.values_list("device__device_id", "count")) == sorted(
        [(device.device_id, 2), (other.device_id, 1)]
    )


def test_proving_a_revoked_certificate_is_a_critical_finding_and_does_not_revive_it(device, key, certificate):
    certificates.revoke(certificate, "stolen", None, NOW)
    prove(device, birth(device, key, certificate.serial))
    certificate.refresh_from_db()
    assert certificate.state == "revoked"
    finding = Finding.objects.get()
    assert (finding.kind, finding.severity, finding.device) == ("revoked_certificate_used", "critical", device)


def test_revoking_is_once_for_good_and_is_evidence(device, certificate):
    staff = StaffFactory()
    assert certificates.revoke(certificate, "stolen", staff, NOW) is True
    assert certificates.revoke(certificate, "again", staff, NOW + timedelta(days=1)) is False
    certificate.refresh_from_db()
    assert (certificate.state, certificate.revoked_at, certificate.reason) == ("revoked", NOW, "stolen")
    event = Event.objects.get(kind="certificate.revoked")
    assert (event.user, event.reason, event.detail) == (staff, "stolen", {"serial": certificate.serial})


def test_a_certificate_is_trusted_while_it_is_valid_and_not_revoked(certificate):
    later = certificate.not_after
    trusted = Certificate.objects.trusted
    assert certificate.is_trusted(NOW) and trusted(NOW).exists()
    assert not certificate.is_trusted(later) and not trusted(later).exists()
    early = certificate.not_before - timedelta(seconds=1)
    assert not certificate.is_trusted(early) and not trusted(early).exists()
    certificates.revoke(certificate, "stolen", None, NOW)
    certificate.refresh_from_db()
    assert not certificate.is_trusted(NOW) and not trusted(NOW).exists()
    assert Certificate.objects.revoked().get() == certificate


def test_a_row_is_never_deleted_whoever_asks(certificate):
    with pytest.raises((IntegrityError, InternalError), match="append-only"), transaction.atomic():
        Certificate.objects.all().delete()
    assert Certificate.objects.filter(pk=certificate.pk).exists()


@pytest.mark.parametrize(
    "changes", [{"pem": ""}, {"serial": "1"}, {"fingerprint": ""}, {"key_fingerprint": ""}], ids=str
)
def test_a_row_is_never_overwritten_whoever_asks(certificate, changes):
    with pytest.raises(IntegrityError, match="never overwritten"), transaction.atomic():
        Certificate.objects.update(**changes)


@pytest.mark.parametrize("changes", [{"state": "active"}, {"revoked_at": NOW}, {"reason": "typo"}], ids=list)
def test_nobody_trusts_a_revoked_certificate_again_not_even_by_hand(certificate, changes):
    certificates.revoke(certificate, "stolen", None, NOW - timedelta(days=1))
    with pytest.raises(IntegrityError, match="never trusted again"), transaction.atomic():
        Certificate.objects.update(**changes)


def test_a_revoked_row_has_a_date(certificate):
    with pytest.raises(IntegrityError, match="certificate_revoked_has_a_date"), transaction.atomic():
        Certificate.objects.update(state="revoked")


def test_one_device_may_keep_its_key_when_it_renews(device, key, certificate):
    again = certificates.issue(device, pki.read_request(peers.csr(key).encode()), NOW)
    assert again.serial != certificate.serial
    assert again.key_fingerprint == certificate.key_fingerprint
