"""Enrolment: a claim and a request for a certificate become a device with an identity. One use case, every door."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from django.db import IntegrityError, transaction
from django.db.models import F

from devices import approvals, authorities, certificates, claim_codes, evidence, lifecycle, pki
from devices.approvals import Waiting
from devices.errors import CertificateError, ProvisioningError
from devices.models import Approval, Certificate, Claim, Device, Presence
from devices.models.fields import HARDWARE_ID_RULE, is_hardware_id


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a device gets."""

    device: Device
    certificate: Certificate
    chain: str
    created: bool


@dataclass(frozen=True, slots=True)
class Applicant:
    """What a device comes with, its request read and judged."""

    claim: Claim
    hardware_id: str
    request: x509.CertificateSigningRequest
    attested: bool
    """The door saw a certificate of the device's maker."""

    @property
    def key(self) -> str:
        """Fingerprint of its key."""
        return pki.key_fingerprint(self.request.public_key())  # type: ignore[arg-type]  # read_request checked its kind


def enroll(
    claim: Claim, device_type: str, hardware_id: str, csr: bytes, now: datetime, *, attested: bool = False
) -> Enrolled | Waiting:
    """Admit a device: check the claim and the request, mint the device once, issue its certificate once.

    The same hardware id with the same key gets the same certificate again, so a device may repeat a lost answer. With
    a new key, or where the claim asks for it, it waits until somebody approves; where the claim has claim codes, until
    its owner has redeemed its own. Raises `ProvisioningError` or `CertificateError`; each carries a code and an HTTP
    status.
    """
    if not is_hardware_id(hardware_id):
        raise ProvisioningError(HARDWARE_ID_RULE, "hardware_id")
    refusal = claim.refusal(hardware_id, device_type, now)
    if refusal:
        raise ProvisioningError(refusal[1], refusal[0], 403)
    try:
        request = pki.read_request(csr)
    except pki.RequestRefused as error:
        raise CertificateError(str(error), "csr_refused") from error
    try:
        with transaction.atomic():
            return _admit(Applicant(claim, hardware_id, request, attested), now)
    except CertificateError as error:
        certificates.report(error, None)
        raise
    except IntegrityError as error:
        # Two requests for one device came at once; the other was first. Asking again finds its result.
        raise ProvisioningError("The same device is being enrolled right now: repeat.", "try_again", 503) from error


def _admit(applicant: Applicant, now: datetime) -> Enrolled | Waiting:
    claim = applicant.claim
    known = (
        Device.objects.select_for_update(of=("self",))
        .filter(device_type=claim.device_type, hardware_id=applicant.hardware_id)
        .select_related("tenant", "device_type")
        .first()
    )
    if known is not None and known.tenant_id != claim.tenant_id and not claim_codes.is_sold(claim, known):
        raise ProvisioningError("This hardware id has joined before.", "hardware_id_taken", 409)
    if known is not None and known.state != Device.State.REGISTERED:
        return _again(known, applicant, now)
    if known is None and claim_codes.is_unsold(claim, applicant.hardware_id):
        return Waiting(None)
    approval = None
    if claim.approve_by_hand:
        certificates.check_key(applicant.key, known)
        answer = _seek(applicant, Approval.Cause.CLAIM, now)
        if isinstance(answer, Waiting):
            return answer
        approval = answer
    if not Claim.objects.filter(pk=claim.pk, uses__lt=F("max_devices")).update(uses=F("uses") + 1):
        raise ProvisioningError(
            f"This claim was for {claim.max_devices} devices, and all have joined.", "claim_used_up", 403
        )
    device = _join(known, applicant) if known else _mint(applicant)
    evidence.record(
        "device.enrolled",
        device=device,
        actor=f"claim {claim.prefix}",
        detail={"hardware_id": applicant.hardware_id, "attested": applicant.attested},
    )
    return _issue(device, applicant, approval, now, created=True)


def _mint(applicant: Applicant) -> Device:
    claim = applicant.claim
    device = Device.objects.create(
        device_id=lifecycle.new_device_id(),
        tenant=claim.tenant,
        device_type=claim.device_type,
        hardware_id=applicant.hardware_id,
        name=lifecycle.first_name(claim.device_type, applicant.hardware_id),
        site_id=claim.site_id,
        state=Device.State.ACTIVE,
        claim=claim,
        attested=applicant.attested,
    )
    Presence.objects.create(device=device)
    return device


def _join(device: Device, applicant: Applicant) -> Device:
    """A device that staff registered before it first spoke: its name and place are there already."""
    device.state, device.claim, device.attested = Device.State.ACTIVE, applicant.claim, applicant.attested
    device.save(update_fields=["state", "claim", "attested"])
    return device


def _again(device: Device, applicant: Applicant, now: datetime) -> Enrolled | Waiting:
    if device.state != Device.State.ACTIVE:
        raise ProvisioningError(f"This device is {device.get_state_display().lower()}.", "device_not_active", 409)
    certificate = (
        device.certificates.trusted(now)
        .filter(key_fingerprint=applicant.key)
        .select_related("authority__issued_by")
        .first()
    )
    if certificate is not None:
        return Enrolled(device, certificate, authorities.chain(certificate.authority), created=False)
    certificates.check_key(applicant.key, device)  # nobody is asked to approve what would be refused
    answer = _seek(applicant, Approval.Cause.NEW_KEY, now, device)
    if isinstance(answer, Waiting):
        return answer
    if answer.certificate is not None:
        raise ProvisioningError(
            "The certificate that was approved for this key is no longer valid: come with a new key.",
            "approval_used",
            409,
        )
    return _issue(device, applicant, answer, now, created=False)


def _seek(applicant: Applicant, cause: str, now: datetime, device: Device | None = None) -> Approval | Waiting:
    return approvals.seek(
        applicant.claim,
        applicant.hardware_id,
        applicant.request,
        cause,
        now,
        device=device,
        attested=applicant.attested,
    )


def _issue(
    device: Device, applicant: Applicant, approval: Approval | None, now: datetime, *, created: bool
) -> Enrolled:
    certificate = certificates.issue(device, applicant.request, now)
    if approval is not None:
        Approval.objects.filter(pk=approval.pk).update(certificate=certificate, device=device)
    return Enrolled(device, certificate, authorities.chain(certificate.authority), created=created)
