"""Enrolment: a claim and a request for a certificate become a device with an identity. One use case, every door."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from django.db import IntegrityError, transaction
from django.db.models import F

from devices import authorities, certificates, evidence, pki
from devices.errors import CertificateError, ProvisioningError
from devices.models import Certificate, Claim, Device, DeviceType, Presence, Site, Tenant

TOKEN_PREFIX = "fpc_"  # noqa: S105 (how a claim token is recognised, by us and by secret scanners)
_PREFIX_LENGTH = 12
_ID_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without 0 o 1 i l: people read device ids aloud
MAX_HARDWARE_ID = 100


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a device gets."""

    device: Device
    certificate: Certificate
    chain: str
    created: bool


def make_claim(
    *,
    tenant: Tenant,
    device_type: DeviceType,
    name: str,
    max_devices: int,
    lifetime: timedelta,
    now: datetime,
    user: Any = None,
    site: Site | None = None,
    hardware_ids: list[str] | None = None,
) -> tuple[Claim, str]:
    """Make a claim. Returns it with its token, which is shown once and kept only as a hash."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        claim = Claim.objects.create(
            tenant=tenant,
            device_type=device_type,
            name=name,
            site=site,
            prefix=token[:_PREFIX_LENGTH],
            token_hash=_hash(token),
            max_devices=max_devices,
            hardware_ids=hardware_ids or [],
            expires_at=now + lifetime,
            created_by=user,
        )
        evidence.record("claim.made", tenant=tenant, user=user, detail={"claim": claim.prefix, "devices": max_devices})
    return claim, token


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def find_claim(token: str) -> Claim:
    """The claim of a token, compared in constant time. Raises `ProvisioningError` (claim_unknown, 401)."""
    claim = (
        Claim.objects.select_related("tenant", "device_type").filter(prefix=token[:_PREFIX_LENGTH]).first()
        if token.startswith(TOKEN_PREFIX) and "\0" not in token
        else None
    )
    expected = claim.token_hash if claim else "0" * 64
    if not hmac.compare_digest(_hash(token), expected) or claim is None:
        raise ProvisioningError("This claim is not known.", "claim_unknown", 401)
    return claim


def enroll(token: str, device_type: str, hardware_id: str, csr: str, now: datetime) -> Enrolled:
    """Admit a device: check the claim and the request, mint the device once, issue its certificate once.

    The same hardware id with the same key gets the same certificate again, so a device may repeat a lost answer.
    Raises `ProvisioningError` or `CertificateError`; each carries a code and an HTTP status.
    """
    claim = find_claim(token)
    if not hardware_id or len(hardware_id) > MAX_HARDWARE_ID or not hardware_id.isprintable():
        raise ProvisioningError(f"hardware_id needs 1 to {MAX_HARDWARE_ID} printable characters.", "hardware_id")
    refusal = claim.refusal(hardware_id, device_type, now)
    if refusal:
        raise ProvisioningError(refusal[1], refusal[0], 403)
    try:
        request = pki.read_request(csr.encode())
    except pki.RequestRefused as error:
        raise CertificateError(str(error), "csr_refused") from error
    try:
        with transaction.atomic():
            return _admit(claim, hardware_id, request, now)
    except CertificateError as error:
        if error.code == certificates.KEY_REUSED:
            certificates.report_reuse(request)
        raise
    except IntegrityError as error:
        # Two requests for one device came at once; the other was first. Asking again finds its result.
        raise ProvisioningError("The same device is being enrolled right now: repeat.", "try_again", 503) from error


def _admit(claim: Claim, hardware_id: str, request: x509.CertificateSigningRequest, now: datetime) -> Enrolled:
    known = (
        Device.objects.select_for_update()
        .filter(device_type=claim.device_type, hardware_id=hardware_id)
        .select_related("tenant", "device_type")
        .first()
    )
    if known is not None:
        return _again(known, claim, request, now)
    if not Claim.objects.filter(pk=claim.pk, uses__lt=F("max_devices")).update(uses=F("uses") + 1):
        raise ProvisioningError(
            f"This claim was for {claim.max_devices} devices, and all have joined.", "claim_used_up", 403
        )
    device = Device.objects.create(
        device_id="d-" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(12)),
        tenant=claim.tenant,
        device_type=claim.device_type,
        hardware_id=hardware_id,
        name=f"{claim.device_type.name} {hardware_id}"[:200],
        site_id=claim.site_id,
        state=Device.State.ACTIVE,
    )
    Presence.objects.create(device=device)
    evidence.record(
        "device.enrolled", device=device, actor=f"claim {claim.prefix}", detail={"hardware_id": hardware_id}
    )
    certificate = certificates.issue(device, request, now)
    return Enrolled(device, certificate, authorities.chain(certificate.authority), created=True)


def _again(device: Device, claim: Claim, request: x509.CertificateSigningRequest, now: datetime) -> Enrolled:
    if device.tenant_id != claim.tenant_id:
        raise ProvisioningError("This hardware id has joined before.", "hardware_id_taken", 409)
    if device.state != Device.State.ACTIVE:
        raise ProvisioningError(f"This device is {device.get_state_display().lower()}.", "device_not_active", 409)
    key = pki.key_fingerprint(request.public_key())  # type: ignore[arg-type]  # read_request admits only our key types
    certificate = (
        device.certificates.trusted(now).filter(key_fingerprint=key).select_related("authority__issued_by").first()
    )
    if certificate is None:
        raise ProvisioningError(
            "This hardware id has joined before with another key; staff must approve a new one.",
            "hardware_id_taken",
            409,
        )
    return Enrolled(device, certificate, authorities.chain(certificate.authority), created=False)
