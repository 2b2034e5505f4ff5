"""Device certificates: issued, proven by use, revoked."""

from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.db import connection, transaction

from devices import authorities, contract, evidence, pki
from devices.errors import CertificateError
from devices.models import Certificate, Device, Finding

LIFETIME = timedelta(days=365)
KEY_REUSED = "key_reused"


def issue(device: Device, request: x509.CertificateSigningRequest, now: datetime) -> Certificate:
    """Sign a checked request for a device; a new row, PENDING until the device is seen using it.

    Raises `CertificateError` (key_reused) when another device has used the key before.
    """
    key = request.public_key()
    fingerprint = pki.key_fingerprint(key)  # type: ignore[arg-type]  # read_request admits only our key types
    with connection.cursor() as cursor:
        # Until the end of the transaction: two devices that come at once with one key must see each other.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [fingerprint])
    if Certificate.objects.filter(key_fingerprint=fingerprint).exclude(device=device).exists():
        raise CertificateError("Another device has used this key: make a new one.", KEY_REUSED, 409)
    ca = authorities.signer()
    leaf = pki.sign_device(device.device_id, key, ca.certificate, ca.key, LIFETIME, now)  # type: ignore[arg-type]
    row = Certificate.objects.create(
        device=device,
        authority=ca.row,
        serial=pki.serial_text(leaf),
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        key_fingerprint=fingerprint,
        subject=leaf.subject.rfc4514_string(),
        pem=pki.pem(leaf),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )
    evidence.record("certificate.issued", device=device, detail={"serial": row.serial})
    return row


def report_reuse(request: x509.CertificateSigningRequest) -> None:
    """Raise the finding about a reused key; after the rollback of what was refused, or it would go with it."""
    fingerprint = pki.key_fingerprint(request.public_key())  # type: ignore[arg-type]  # as in issue
    owner = Certificate.objects.filter(key_fingerprint=fingerprint).values_list("device_id", flat=True).first()
    evidence.find("key_reused", "Another device asked for a certificate for this one's key.", device_pk=owner)


def prove(device_pk: int, device_id: str, status: contract.Status, now: datetime) -> None:
    """Judge the proof in a birth: the first valid one makes the certificate ACTIVE; a false one is a finding."""
    claimed = status.certificate
    if claimed is None:
        return
    row = Certificate.objects.filter(serial=claimed.serial, device_id=device_pk).first()
    statement = contract.proof_statement(device_id, status.session, status.boot_id, claimed.serial)
    if row is None or not pki.proves(x509.load_pem_x509_certificate(row.pem.encode()), statement, claimed.proof):
        evidence.find("certificate_proof_false", "A birth names a certificate it does not prove.", device_pk=device_pk)
        return
    if row.revoked_at is not None:
        evidence.find(
            "revoked_certificate_used",
            f"A birth proves the revoked certificate {row.serial}.",
            device_pk=device_pk,
            severity=Finding.Severity.CRITICAL,
        )
        return
    first = Certificate.objects.filter(pk=row.pk, first_seen_at__isnull=True, state=Certificate.State.PENDING)
    if first.update(first_seen_at=now, state=Certificate.State.ACTIVE):
        evidence.record("certificate.proven", device=row.device, actor=device_id, detail={"serial": row.serial})


def revoke(certificate: Certificate, reason: str, user: Any, now: datetime) -> bool:
    """Revoke for good. Returns False when it was revoked before. The door then has the device shut out (tasks.py)."""
    with transaction.atomic():
        changed = Certificate.objects.filter(pk=certificate.pk, revoked_at__isnull=True).update(
            state=Certificate.State.REVOKED, revoked_at=now, reason=reason
        )
        if changed:
            evidence.record(
                "certificate.revoked",
                device=certificate.device,
                user=user,
                reason=reason,
                detail={"serial": certificate.serial},
            )
    return bool(changed)
