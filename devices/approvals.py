"""Approvals: devices that wait for a person, and the person's answer. The device asks again and finds it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.db import transaction

from devices import evidence, pki
from devices.errors import ProvisioningError
from devices.models import Approval, Claim, Device

RETRY_SECONDS = 30
"""A device that waits asks again after this long."""
_MAX_WAITING_PER_DEVICE = 3
_SPARE = 20
"""So many more devices than a claim admits may wait at it: staff choose, but a leaked token must not fill the page."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nobody has decided yet."""

    approval: Approval | None
    """None: what is missing is no approval, but an owner (claim_codes.py)."""
    retry_seconds: int = RETRY_SECONDS


def seek(
    claim: Claim,
    hardware_id: str,
    request: x509.CertificateSigningRequest,
    cause: str,
    now: datetime,
    *,
    device: Device | None = None,
    attested: bool = False,
) -> Approval | Waiting:
    """The approval of this device with this key, or the news that it waits for one. Asking twice asks once.

    Raises `ProvisioningError`: rejected (403), too_many_waiting (429).
    """
    key = pki.key_fingerprint(request.public_key())  # type: ignore[arg-type]  # read_request admits only our key types
    row = Approval.objects.filter(claim=claim, hardware_id=hardware_id, key_fingerprint=key).first()
    if row is None:
        _check_room(claim, device)
        row, made = Approval.objects.get_or_create(
            claim=claim,
            hardware_id=hardware_id,
            key_fingerprint=key,
            defaults={
                "cause": cause,
                "device": device,
                "attested": attested,
                "csr": request.public_bytes(serialization.Encoding.PEM).decode(),
                "asked_at": now,
                "last_asked_at": now,
            },
        )
        if made:
            detail = {"hardware_id": hardware_id, "claim": claim.prefix, "cause": str(cause)}
            evidence.record("approval.asked", tenant=claim.tenant, device=device, detail=detail)
    if row.state == Approval.State.REJECTED:
        raise ProvisioningError(f"Staff rejected this device: {row.reason}", "rejected", 403)
    if row.state == Approval.State.APPROVED:
        return row
    Approval.objects.filter(pk=row.pk).update(last_asked_at=now)
    return Waiting(row)


def _check_room(claim: Claim, device: Device | None) -> None:
    pending = Approval.objects.filter(state=Approval.State.PENDING)
    full = (
        pending.filter(device=device).count() >= _MAX_WAITING_PER_DEVICE
        if device
        else pending.filter(claim=claim).count() >= claim.max_devices - claim.uses + _SPARE
    )
    if full:
        raise ProvisioningError("Too many wait for approval here already: ask staff.", "too_many_waiting", 429)


def decide(approval: Approval, *, approve: bool, user: Any, reason: str, now: datetime) -> bool:
    """Approve or reject, once. Returns False when somebody decided before."""
    state = Approval.State.APPROVED if approve else Approval.State.REJECTED
    with transaction.atomic():
        changed = Approval.objects.filter(pk=approval.pk, state=Approval.State.PENDING).update(
            state=state, decided_by=user, decided_at=now, reason=reason
        )
        if changed:
            evidence.record(
                f"approval.{state}",
                tenant=approval.claim.tenant,
                device=approval.device,
                user=user,
                reason=reason,
                detail={"hardware_id": approval.hardware_id, "claim": approval.claim.prefix},
            )
    return bool(changed)
