"""Device certificates: issued, proven by use, replaced by a newer one that was seen, revoked."""

from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.conf import settings
from django.db import connection, models, transaction

from devices import authorities, contract, evidence, pki, rotation
from devices.errors import CertificateError
from devices.models import Certificate, Device, Event, Finding, Renewal

KEY_REUSED = "key_reused"
SUPERSEDED = "superseded"
"""Reason of a certificate that was retired because its successor was seen (RFC 5280, 5.3.1)."""


def issue(device: Device, request: x509.CertificateSigningRequest, now: datetime) -> Certificate:
    """Sign a checked request for a device; a new row, PENDING until the device is seen using it.

    Raises `CertificateError` as `check_key` does.
    """
    key = request.public_key()
    fingerprint = pki.key_fingerprint(key)  # type: ignore[arg-type]  # read_request admits only our key types
    with connection.cursor() as cursor:
        # Until the end of the transaction: two devices that come at once with one key must see each other.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [fingerprint])
    check_key(fingerprint, device)
    ca = authorities.signer()
    leaf = pki.sign_device(device.device_id, key, ca.certificate, ca.key, settings.CERTIFICATE_LIFETIME, now)  # type: ignore[arg-type]
    serial = pki.serial_text(leaf)
    row = Certificate.objects.create(
        device=device,
        authority=ca.row,
        serial=serial,
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        key_fingerprint=fingerprint,
        subject=leaf.subject.rfc4514_string(),
        pem=pki.pem(leaf),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        created_at=now,
        renew_at=rotation.renew_at(now, leaf.not_valid_after_utc, serial),
    )
    evidence.record("certificate.issued", device=device, detail={"serial": row.serial})
    return row


def check_key(fingerprint: str, device: Device | None) -> None:
    """May this key be certified for this device (None: a new one)?

    Raises `CertificateError`: key_reused (409) when another device has used it, key_revoked (409) when a certificate
    with it was revoked: what was revoked is never trusted again, under whatever serial number.
    """
    known = Certificate.objects.filter(key_fingerprint=fingerprint)
    if known.exclude(device=device).exists():
        raise CertificateError("Another device has used this key: make a new one.", KEY_REUSED, 409)
    if known.filter(state=Certificate.State.REVOKED).exists():
        raise CertificateError("A certificate with this key was revoked: make a new key.", "key_revoked", 409)


def report_reuse(request: x509.CertificateSigningRequest) -> None:
    """Raise the finding about a reused key; after the rollback of what was refused, or it would go with it."""
    fingerprint = pki.key_fingerprint(request.public_key())  # type: ignore[arg-type]  # as in issue
    owner = Certificate.objects.filter(key_fingerprint=fingerprint).values_list("device_id", flat=True).first()
    evidence.find("key_reused", "Another device asked for a certificate for this one's key.", device_pk=owner)


def prove(device_pk: int, device_id: str, status: contract.Status, now: datetime) -> Certificate | None:
    """Judge the proof in a birth; a false one is a finding. Returns the certificate it proves, None without one."""
    claimed = status.certificate
    if claimed is None:
        return None
    row = Certificate.objects.filter(serial=claimed.serial, device_id=device_pk).first()
    statement = contract.proof_statement(device_id, status.session, status.boot_id, claimed.serial)
    if row is None or not pki.proves(x509.load_pem_x509_certificate(row.pem.encode()), statement, claimed.proof):
        evidence.find("certificate_proof_false", "A birth names a certificate it does not prove.", device_pk=device_pk)
        return None
    seen(row, "A birth", now)
    return row


def seen(certificate: Certificate, where: str, now: datetime) -> bool:
    """A device proved that it uses a certificate. The first time makes it ACTIVE, and those before it RETIRING.

    Returns False, with a finding, when it must not be used any more. `where` tells people about the door.
    """
    with transaction.atomic():
        row = Certificate.objects.select_for_update().select_related("device__tenant").get(pk=certificate.pk)
        if row.revoked_at is not None:
            _report_revoked(row, where)
            return False
        if row.not_after <= now:
            return False
        first = row.first_seen_at is None
        Certificate.objects.filter(pk=row.pk).update(
            state=Certificate.State.ACTIVE,
            first_seen_at=row.first_seen_at or now,
            last_seen_at=now,
            replaced_by=None,
        )
        older = Certificate.objects.filter(device=row.device_id, pk__lt=row.pk, revoked_at__isnull=True)
        older.filter(state__in=["pending", "active"]).update(state=Certificate.State.RETIRING, replaced_by=row)
        if first:
            evidence.record(
                "certificate.proven", device=row.device, actor=row.device.device_id, detail={"serial": row.serial}
            )
            Renewal.objects.filter(successor=row, state=Renewal.State.ISSUED).update(
                state=Renewal.State.PROVEN, ended_at=now, detail=""
            )
        elif row.state == Certificate.State.RETIRING:
            # It came back with the old key: whatever it did with the new one, the old one must not be taken away.
            evidence.find(
                "certificate_fell_back",
                f"{where} uses {row.serial} again, though its successor was seen.",
                device_pk=row.device_id,
            )
    return True


def _report_revoked(row: Certificate, where: str) -> None:
    evidence.find(
        "revoked_certificate_used",
        f"{where} proves the revoked certificate {row.serial}.",
        device_pk=row.device_id,
        severity=Finding.Severity.CRITICAL,
    )


def retire(now: datetime, limit: int = 5000) -> int:
    """Take replaced certificates out of use whose overlap is over. Returns how many are new on the CRL.

    Only where the successor is what the device used last: one that fell back keeps the key that works.
    """
    due = Certificate.objects.filter(
        models.Q(last_seen_at__isnull=True) | models.Q(last_seen_at__lt=models.F("replaced_by__last_seen_at")),
        state=Certificate.State.RETIRING,
        revoked_at__isnull=True,
        replaced_by__first_seen_at__lte=now - settings.CERTIFICATE_OVERLAP,
    )
    with transaction.atomic():
        rows = list(due.select_for_update(skip_locked=True, of=("self",)).select_related("device")[:limit])
        changed = Certificate.objects.filter(pk__in=[row.pk for row in rows], state=Certificate.State.RETIRING).update(
            state=Certificate.State.RETIRED, revoked_at=now, reason=SUPERSEDED
        )
        Event.objects.bulk_create(
            Event(
                kind="certificate.retired",
                at=now,
                device=row.device,
                tenant_id=row.device.tenant_id,
                actor="portal",
                detail={"serial": row.serial},
            )
            for row in rows
        )
    return changed


def expire(now: datetime) -> int:
    """Mark certificates whose time is over. No door asks for this state: each judges the time itself."""
    return Certificate.objects.filter(state__in=["pending", "active", "retiring"], not_after__lte=now).update(
        state=Certificate.State.EXPIRED
    )


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
