"""The two ways to a certificate over HTTPS, asked in the same words; and who comes with what."""

import base64
import json
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.utils import timezone

from devices import claims, pki
from devices.models import Approval, Authority, Certificate, Device, Event
from tests.devices import peers
from tests.devices.hostile_requests import made
from tests.factories import DeviceFactory, TenantFactory

DAY = timedelta(days=1)


class Json:
    """`POST /api/v1/devices/provision`."""

    def __init__(self, door):
        self.door = door

    def ask(self, csr=None, who=None, token="", device_type="logger", hardware_id="hw-1"):
        csr = csr if csr is not None else made(pki.new_key(), subject=hardware_id)
        told = {"device_type": device_type, "hardware_id": hardware_id}
        told = {name: value for name, value in told.items() if value}
        return self.door.provision(csr.decode("latin1"), who, token, **told)

    def text(self, answer):
        assert answer.headers.get_content_type() == "application/problem+json"
        return json.dumps(json.loads(answer.body), ensure_ascii=False)


class Est:
    """`POST /.well-known/est/LABEL/simpleenroll`."""

    def __init__(self, door):
        self.door = door

    def ask(self, csr=None, who=None, token="", device_type="logger", hardware_id="hw-1"):
        csr = csr if csr is not None else made(pki.new_key(), subject=hardware_id)
        basic = base64.b64encode(f"{token[:12]}:{token}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"} if token else {}
        label = f"{device_type}/" if device_type else ""
        return self.door.ask("POST", f"/.well-known/est/{label}simpleenroll", csr, who, **headers)

    def text(self, answer):
        assert answer.headers.get_content_type() == "text/plain"
        return answer.text


def claim_certificate(folder, kind, **changes):
    """A claim and who holds its certificate."""
    asked = {"name": "c", "max_devices": 9, "lifetime": DAY, "now": timezone.now(), "kind": "certificate"} | changes
    claim, secret = claims.make_claim(tenant=TenantFactory(), device_type=kind, **asked)
    certfile = folder / f"{claim.prefix}.pem"
    certfile.write_text(secret)
    return claim, peers.Identity("", certfile, certfile)


def known(folder, now, days=9):
    """A device with a certificate of its own that was issued at another time."""
    who = peers.signed_by(folder, "issuing", now=now, days=days)
    certificate = x509.load_pem_x509_certificate(who.certfile.read_bytes())
    row = Certificate.objects.create(
        device=DeviceFactory(),
        authority=Authority.objects.get(kind="issuing"),
        serial=pki.serial_text(certificate),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        key_fingerprint=pki.key_fingerprint(certificate.public_key()),
        subject="-",
        pem=pki.pem(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        renew_at=certificate.not_valid_after_utc,
        created_at=now,
    )
    return who, row


def counts():
    return [rows.objects.count() for rows in (Device, Certificate, Approval, Event)]


def refused(way, who=None, *, stores=False, **asked):
    """Status and code of a refusal, which leaves no trace but findings."""
    before = counts()
    answer = way.ask(who=who, **asked)
    assert stores or counts() == before
    assert way.text(answer)
    return answer.status, answer.code
