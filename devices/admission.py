"""Admission: whoever calls, and what it brings, becomes a certificate. One decision for every HTTP door.

The caller's role decides, not the path: a device that has a certificate renews it, anybody else enrols by a claim.
"""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from devices import claims, enrollment, pki, renewals
from devices.approvals import Waiting
from devices.callers import Caller, ClaimCaller, DeviceCaller, MakerCaller, Nobody
from devices.enrollment import Enrolled
from devices.errors import CertificateError, ProvisioningError
from devices.models import Claim

WAITS = "Somebody must approve this device, or add it by its claim code. Ask again."


@dataclass(frozen=True, slots=True)
class Application:
    """What came with a request. What is empty was left out."""

    csr: bytes
    token: str = ""
    """A claim's."""
    device_type: str = ""
    hardware_id: str | None = ""
    """None: what the subject of the request names, where the caller is not known by its certificate."""


def check_credential(caller: Caller, token: str) -> None:
    """Refuse who brings nothing, before what it asks for is looked at. Raises `ProvisioningError` (claim_missing)."""
    if isinstance(caller, Nobody) and not token:
        raise _nothing()


def _nothing() -> ProvisioningError:
    return ProvisioningError("Send a claim: its token or its certificate.", "claim_missing", 401)


def admit(caller: Caller, asked: Application, now: datetime) -> Enrolled | Waiting:
    """Give a device its first certificate, or its next.

    A token stands beside no other claim and no device's certificate; beside a maker's certificate it says by which
    claim the device joins, and the certificate attests what it is. Raises `ProvisioningError` and `CertificateError`
    with a code and an HTTP status: those of `claims`, `enrollment.enroll` and `renewals.renew`, and claim_missing
    (401), two_credentials, hardware_id (400), other_hardware_id, other_device_type (403).
    """
    if isinstance(caller, DeviceCaller):
        return _renew(caller, asked, now)
    claim = _claim(caller, asked, now)
    hardware_id = pki.subject_name(_read(asked.csr).subject) if asked.hardware_id is None else asked.hardware_id
    if isinstance(caller, MakerCaller):
        if hardware_id not in ("", caller.hardware_id):
            text = f"This certificate is of hardware id {caller.hardware_id!r}."
            raise ProvisioningError(text, "other_hardware_id", 403)
        hardware_id = caller.hardware_id
    return enrollment.enroll(
        claim,
        asked.device_type or claim.device_type.slug,
        hardware_id,
        asked.csr,
        now,
        attested=isinstance(caller, MakerCaller),
    )


def _claim(caller: Nobody | ClaimCaller | MakerCaller, asked: Application, now: datetime) -> Claim:
    if isinstance(caller, ClaimCaller):
        if asked.token:
            raise ProvisioningError("Send a claim's token or its certificate, not both.", "two_credentials")
        return caller.claim
    if asked.token:
        return claims.of_token(asked.token)
    if isinstance(caller, Nobody):
        raise _nothing()
    claim = claims.of_maker(caller.certificate, asked.device_type, caller.hardware_id, now)
    if claim is None:
        text = f"No claim admits this maker's devices of type {asked.device_type!r}."
        raise ProvisioningError(text, "claim_other_type", 403)
    return claim


def _renew(caller: DeviceCaller, asked: Application, now: datetime) -> Enrolled:
    device = caller.certificate.device
    if asked.token:
        raise ProvisioningError("Send a claim's token or a device's certificate, not both.", "two_credentials")
    if asked.device_type not in ("", device.device_type.slug):
        text = f"This certificate is of a device of type {device.device_type.slug!r}."
        raise ProvisioningError(text, "other_device_type", 403)
    if asked.hardware_id not in (None, "", device.hardware_id):
        text = f"This certificate is of hardware id {device.hardware_id!r}."
        raise ProvisioningError(text, "other_hardware_id", 403)
    issued = renewals.renew(device.pk, _read(asked.csr), now, presented=caller.certificate)
    return Enrolled(device, issued, renewals.chain(issued), created=False)


def _read(csr: bytes) -> x509.CertificateSigningRequest:
    try:
        return pki.read_request(csr)
    except pki.RequestRefused as error:
        raise CertificateError(str(error), "csr_refused") from error
