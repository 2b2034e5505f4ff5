"""A device with its keys, that renews and connects as tests tell it."""

import base64
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import transaction
from django.utils import timezone

from devices import certificates, contract, pki, presence, registry, renewals
from devices.errors import CertificateError
from devices.models import Presence, Renewal
from tests.devices import peers
from tests.factories import DeviceFactory, PresenceFactory

NOW = timezone.now()
DAY = timedelta(days=1)
LATE = NOW + 300 * DAY  # inside the window of a year's certificate


class Member:
    """A device with its keys."""

    def __init__(self, online=True, now=NOW, **fields):
        self.row = DeviceFactory(presence=None, **fields)
        PresenceFactory(device=self.row)
        self.session = 0
        self.key = pki.new_key()
        self.certificate = certificates.issue(self.row, self.request(self.key), now)
        self.birth(self.key, self.certificate, now)
        Presence.objects.filter(device=self.row).update(online=online)

    @staticmethod
    def request(key):
        return pki.read_request(peers.csr(key).encode())

    def birth(self, key, certificate, now, session=None):
        """It connects with this key and proves it."""
        self.session = self.session + 1 if session is None else session
        statement = contract.proof_statement(self.row.device_id, self.session, "b", certificate.serial)
        proof = base64.b64encode(key.sign(statement, ec.ECDSA(hashes.SHA256()))).decode()
        told = contract.CertificateProof(certificate.serial, proof)
        status = contract.Status(contract.State.ONLINE, self.session, "b", 0, certificate=told)
        known = registry.look_up([self.row.device_id])[self.row.device_id]
        with transaction.atomic():
            presence.birth(known, status, now)
        certificate.refresh_from_db()

    def renew(self, now=LATE, key=None, **kwargs):
        """It sends a request; returns key and certificate."""
        key = key or pki.new_key()
        return key, renewals.renew(self.row.pk, self.request(key), now, **kwargs)

    def state(self, certificate=None):
        certificate = certificate or self.certificate
        certificate.refresh_from_db()
        return certificate.state


def refusal(call, *args, **kwargs):
    with pytest.raises(CertificateError) as error:
        call(*args, **kwargs)
    return error.value.code, error.value.status


def asked_ids(now):
    return [each.device_id for each in renewals.ask(now)]


def the(member):
    return Renewal.objects.get(device=member.row)
