"""What devices are told about their renewals, over the real broker: when it happens, and again at each birth."""

import base64
import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.utils import timezone

from devices import contract, ingest, pki, tasks
from devices.models import Certificate, Device, Presence, Renewal
from devices.registry import Incoming
from tests.devices import peers

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mosquitto_server")]
RENEW, ISSUED = contract.CERTIFICATE_RENEW, contract.CERTIFICATE_ISSUED


class Talk:
    """A device's side: what it says goes into ingestion, what it hears comes over the broker."""

    def __init__(self, identity, peer, commit):
        self.identity, self.peer, self._commit, self.session = identity, peer, commit, 0
        self.row = Device.objects.get(device_id=identity.device_id)
        self.certificate = self.row.certificates.get()
        self.key = serialization.load_pem_private_key(identity.keyfile.read_bytes(), None)

    def say(self, channel, payload):
        with self._commit(execute=True):
            refused, _ = ingest.store_batch([Incoming(self.identity.topic(channel), payload, 1)])
        return [each.reason for each in refused]

    def birth(self, key=None, certificate=None):
        key, certificate = key or self.key, certificate or self.certificate
        self.session += 1
        statement = contract.proof_statement(self.row.device_id, self.session, "b", certificate.serial)
        proof = base64.b64encode(key.sign(statement, ec.ECDSA(hashes.SHA256()))).decode()
        told = contract.CertificateProof(certificate.serial, proof)
        status = contract.Status(contract.State.ONLINE, self.session, "b", 0, certificate=told)
        assert self.say("status", contract.encode(status)) == []

    def heard(self, channel, times=1):
        """The payload of the `times`-th message on a channel."""
        topic = self.identity.topic(channel)
        got = lambda: [payload for at, payload in self.peer.received if at == topic]  # noqa: E731
        peers.eventually(lambda: len(got()) >= times, what=f"{times} on {channel}")
        assert len(got()) == times
        return json.loads(got()[-1])


@pytest.fixture
def talk(ca, tmp_path, django_capture_on_commit_callbacks):
    identity = peers.enrolled(tmp_path)
    with peers.device(identity) as peer:
        peer.subscribe(identity.topic(RENEW), identity.topic(ISSUED))
        talk = Talk(identity, peer, django_capture_on_commit_callbacks)
        talk.birth()
        yield talk


def age(talk):
    """Make the certificate old enough to be renewed."""
    Certificate.objects.filter(pk=talk.certificate.pk).update(renew_at=timezone.now() - timedelta(seconds=1))


def test_from_due_to_proven(talk):
    age(talk)
    assert tasks.rotate_certificates() == {"planned": 1, "asked": 1, "retired": 0}
    asked = talk.heard(RENEW)
    assert asked == {
        "serial": talk.certificate.serial,
        "not_after": int(talk.certificate.not_after.timestamp() * 1000),
    }
    key = pki.new_key()
    assert talk.say("certificate/csr", peers.csr(key).encode()) == []
    issued = talk.heard(ISSUED)
    leaf = x509.load_pem_x509_certificate(issued["certificate"].encode())
    assert leaf.public_key() == key.public_key()
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(issued["chain"].encode()))
    talk.birth(key, Certificate.objects.get(serial=pki.serial_text(leaf)))
    assert Renewal.objects.get().state == "proven"
    assert tasks.rotate_certificates() == {"planned": 0, "asked": 0, "retired": 0}


def test_a_request_said_twice_is_answered_twice_with_one_certificate(talk):
    request = peers.csr().encode()
    talk.say("certificate/csr", request)
    first = talk.heard(ISSUED)
    talk.say("certificate/csr", request)
    assert talk.heard(ISSUED, times=2) == first


def test_what_is_open_is_said_again_at_each_birth_until_it_was_seen(talk):
    age(talk)
    tasks.rotate_certificates()
    talk.heard(RENEW)
    talk.birth()
    talk.heard(RENEW, times=2)
    key = pki.new_key()
    talk.say("certificate/csr", peers.csr(key).encode())
    issued = talk.heard(ISSUED)
    talk.birth()
    assert talk.heard(ISSUED, times=2) == issued
    successor = Renewal.objects.get().successor
    talk.birth(key, successor)
    talk.birth(key, successor)
    talk.heard(ISSUED, times=2)
    talk.heard(RENEW, times=2)


@pytest.mark.parametrize(
    ("request_text", "reason"),
    [(b"garbage", "csr_refused"), (b"", None), (b"x" * 20_000, "csr_refused")],
    ids=["garbage", "empty", "huge"],
)
def test_a_bad_request_gets_no_certificate_and_a_reason(talk, request_text, reason):
    assert talk.say("certificate/csr", request_text) == ([reason] if reason else [])
    assert Certificate.objects.count() == 1


def test_a_device_that_is_offline_is_asked_when_it_is_back(talk):
    Presence.objects.update(online=False)
    age(talk)
    assert tasks.rotate_certificates() == {"planned": 1, "asked": 0, "retired": 0}
    talk.birth()
    assert tasks.rotate_certificates() == {"planned": 0, "asked": 1, "retired": 0}
    talk.heard(RENEW)
