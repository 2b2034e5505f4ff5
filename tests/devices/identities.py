"""Devices whose certificates have a history, made by the use cases themselves: what the pages about identity show."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from django.utils import timezone

from devices import approvals, certificates, claims, enrollment, lifecycle, pki, renewals
from devices.models import Approval, Authority, Certificate, Claim, Device, DeviceType, Presence, Renewal, Site, Tenant
from tests.devices import peers
from tests.factories import DeviceTypeFactory, SiteFactory, TenantFactory


def request(key=None, subject: str = "whatever") -> x509.CertificateSigningRequest:
    """A request as a device makes it, read."""
    return pki.read_request(peers.csr(key, subject).encode())


def join(claim: Claim, hardware_id: str, now: datetime, key=None) -> Device:
    """A device that enrolled."""
    result = enrollment.enroll(claim, claim.device_type.slug, hardware_id, peers.csr(key).encode(), now)
    assert isinstance(result, enrollment.Enrolled)
    return result.device


def ask_to_join(claim: Claim, hardware_id: str, now: datetime, key=None) -> Approval:
    """A device that waits for a person."""
    result = enrollment.enroll(claim, claim.device_type.slug, hardware_id, peers.csr(key).encode(), now)
    assert isinstance(result, approvals.Waiting)
    return result.approval


def renew(device: Device, now: datetime, *, use: bool = True) -> Certificate:
    """The device's next certificate, and its first use."""
    made = renewals.renew(device.pk, request(), now)
    if use:
        certificates.seen(made, "A birth", now)
    return made


def make_claim(tenant: Tenant, device_type: DeviceType, name: str, now: datetime, **told) -> tuple[Claim, str]:
    """A claim and its secret."""
    asked = {"max_devices": 10, "lifetime": timedelta(days=30)} | told
    return claims.make_claim(tenant=tenant, device_type=device_type, name=name, now=now, **asked)


def maker(name: str, now: datetime) -> Authority:
    """A maker's CA, registered."""
    certificate = pki.make_root(name, pki.new_key(), timedelta(days=3650), now)
    return Authority.objects.create(
        name=name,
        kind=Authority.Kind.MAKER,
        certificate=pki.pem(certificate),
        key_backend=Authority.Backend.NONE,
        not_after=certificate.not_valid_after_utc,
    )


@dataclass
class Fleet:
    """What `fleet` made."""

    tenant: Tenant
    type: DeviceType
    claim: Claim
    device: Device
    """With a succession of four certificates and an open renewal."""
    replaced: Device
    new_key: Approval
    by_hand: Approval
    claims: dict[str, Claim]


def fleet(now: datetime | None = None) -> Fleet:
    """A small fleet in which everything about identity has happened once."""
    now = now or timezone.now()
    day = timedelta(days=1)
    tenant = TenantFactory(name="Acme Foods")
    kind = DeviceTypeFactory(name="Cold-chain logger")
    site: Site = SiteFactory(tenant=tenant, name="Hamburg cold store")
    open_to_all, _ = make_claim(tenant, kind, "Batch 7, Hamburg", now - 800 * day, lifetime=900 * day, site=site)
    by_hand, _ = make_claim(tenant, kind, "Field service", now, approve_by_hand=True, max_devices=5)
    bundle, _ = make_claim(tenant, kind, "Line 2, spring order", now, kind=Claim.Kind.CERTIFICATE, max_devices=200)
    born, _ = make_claim(
        tenant, kind, "Secure elements", now, kind=Claim.Kind.MAKER, maker=maker("Borealis Chips CA", now)
    )
    old, _ = make_claim(tenant, kind, "Pilot", now - 90 * day, lifetime=60 * day)
    claims.revoke(old, "The pilot is over", None, now - 40 * day)

    device = join(open_to_all, "CL-2041-0007", now - 700 * day)
    certificates.seen(device.certificates.get(), "A birth", now - 700 * day)
    for ago in (430, 160):
        renew(device, now - ago * day)
        certificates.retire(now - (ago - 1) * day)
    certificates.expire(now)
    renewals.request(Device.objects.filter(pk=device.pk), None, now)
    Presence.objects.filter(device=device).update(online=True, last_seen_at=now, firmware_version="2.4.1", session=9)
    renewals.ask(now)
    renew(device, now, use=False)

    for number in range(12):
        each = join(open_to_all, f"CL-2041-01{number:02}", now - (230 + 12 * number % 40) * day) if number < 7 else None
        if each:
            certificates.seen(each.certificates.get(), "A birth", now - 2 * day)
            Presence.objects.filter(device=each).update(online=number % 3 != 1, last_seen_at=now - 2 * day)
    tired = Device.objects.get(hardware_id="CL-2041-0103")
    renewals.request(Device.objects.filter(pk=tired.pk), None, now)
    Renewal.objects.filter(device=tired).update(
        state="failed", attempts=8, ended_at=now, detail="Asked 8 times, and it never sent a request.",
        asked_at=now - day, next_attempt_at=now + 3 * day,
    )  # fmt: skip
    waits = Device.objects.get(hardware_id="CL-2041-0104")
    renewals.request(Device.objects.filter(pk=waits.pk), None, now)

    broken = join(open_to_all, "CL-2041-0900", now - 100 * day)
    certificates.seen(broken.certificates.get(), "A birth", now - 90 * day)
    lifecycle.replace(broken, "CL-2044-0900", "Water damage, RMA 4711", None, now - 2 * day)
    stolen = join(open_to_all, "CL-2041-0666", now - 50 * day)
    certificates.revoke(stolen.certificates.get(), "Stolen from the van", None, now - day)

    return Fleet(
        tenant,
        kind,
        open_to_all,
        device,
        broken,
        ask_to_join(open_to_all, "CL-2041-0007", now - timedelta(minutes=3)),
        ask_to_join(by_hand, "CL-2044-0042", now - timedelta(minutes=9)),
        {"token": by_hand, "certificate": bundle, "maker": born, "revoked": old},
    )
