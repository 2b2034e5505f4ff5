"""Device certificates: issued, proven by use, replaced by a newer one that was seen, revoked."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.conf import settings
from django.db import connection, models, transaction

from devices import authorities, contract, evidence, pki, rotation
from devices.errors import CertificateError
from devices.models import Certificate, Device, Event, Finding, Renewal

_TICK = timedelta(microseconds=1)
KEY_REUSED = "key_reused"
TOO_MANY = "too_many_certificates"
MAX_ISSUED = 6
"""Certificates a device gets within a day, or within a third of their lifetime where they are short-lived."""
SUPERSEDED = "superseded"
"""Reason of a certificate that was retired because its successor was seen (RFC 5280, 5.3.1)."""


def issue(device: Device, request: x509.CertificateSigningRequest, now: datetime) -> Certificate:
    """Sign a checked request for a device; a new row, PENDING until the device is seen using it.

    Raises `CertificateError`: too_many_certificates (429), authority_expired (503), and as `check_key` does.
    """
    key = request.public_key()
    fingerprint = pki.key_fingerprint(key)  # type: ignore[arg-type]  # read_request admits only our key types
    with connection.cursor() as cursor:
        # Until the end of the transaction: two devices that come at once with one key must see each other.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [fingerprint])
    check_key(fingerprint, device)
    _check_rate(device, now)
    ca = authorities.signer()
    if ca.certificate.not_valid_after_utc <= now:
        raise CertificateError("The issuing CA has expired: staff must add another.", "authority_expired", 503)
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


def _check_rate(device: Device, now: datetime) -> None:
    """A device that collects certificates fills tables and revocation lists, and slows everybody's cut-off."""
    span = min(timedelta(days=1), settings.CERTIFICATE_LIFETIME / 3)
    if device.certificates.filter(created_at__gt=now - span).count() >= MAX_ISSUED:
        raise CertificateError("This device got several certificates a short while ago: come later.", TOO_MANY, 429)


def check_key(fingerprint: str, device: Device | None) -> None:
    """May this key be certified for this device (None: a new one)?

    Raises `CertificateError`: key_reused (409) when another device has used it, key_revoked (409) when a certificate
    with it was revoked: what was revoked is never trusted again, under whatever serial number.
    """
    known = Certificate.objects.filter(key_fingerprint=fingerprint)
    if known.exclude(device=device).exists():
        error = CertificateError("Another device has used this key: make a new one.", KEY_REUSED, 409)
        error.key = fingerprint
        raise error
    if known.filter(state=Certificate.State.REVOKED).exists():
        raise CertificateError("A certificate with this key was revoked: make a new key.", "key_revoked", 409)


def report(error: CertificateError, device_pk: int | None) -> None:
    """Raise the finding about a refusal that deserves one; after its rollback, or the finding would go with it."""
    if error.code == KEY_REUSED:
        owner = Certificate.objects.filter(key_fingerprint=error.key).values_list("device_id", flat=True).first()
        evidence.find("key_reused", "Another device asked for a certificate for this one's key.", device_pk=owner)
    elif error.code == TOO_MANY:
        evidence.find("renewal_loop", f"It asked for {MAX_ISSUED} certificates within a day.", device_pk=device_pk)


Claimed = dict[tuple[int, str], Certificate]
"""Certificates by device and serial."""


def claimed(births: Iterable[tuple[int, contract.Status]]) -> Claimed:
    """The certificates that these births (of a device's key) name, its devices locked for this transaction.

    Locked in the order of their keys, as one that births take one by one would make two batches wait for each other.
    """
    named = {(pk, status.certificate.serial) for pk, status in births if status.certificate}
    pks = sorted({pk for pk, _ in named})
    if not pks:
        return {}
    list(Device.objects.select_for_update(no_key=True).filter(pk__in=pks).order_by("pk").values_list("pk"))
    rows = Certificate.objects.filter(device__in=pks, serial__in={serial for _, serial in named})
    return {(row.device_id, row.serial): row for row in rows}


def judge(device_pk: int, device_id: str, status: contract.Status, rows: Claimed) -> Certificate | None:
    """The certificate that a birth proves, whether or not it may be used; a false proof is a finding, and None."""
    claimed = status.certificate
    if claimed is None:
        return None
    row = rows.get((device_pk, claimed.serial))
    statement = contract.proof_statement(device_id, status.session, status.boot_id, claimed.serial)
    if row is None or not pki.proves(x509.load_pem_x509_certificate(row.pem.encode()), statement, claimed.proof):
        evidence.find("certificate_proof_false", "A birth names a certificate it does not prove.", device_pk=device_pk)
        return None
    return row


# Nearly every birth: the one that was proven last is proven again, and nothing else of the device's is in use or waits.
# It waits for whoever has the device's row, and they for it: `lock` comes first.
_STILL_IN_USE = """
    UPDATE devices_certificate AS c SET last_seen_at = greatest(%(now)s, c.last_seen_at)
      FROM (SELECT d.id FROM devices_device d JOIN devices_certificate m ON m.device_id = d.id
             WHERE m.id = %(pk)s FOR NO KEY UPDATE OF d) AS device
     WHERE c.id = %(pk)s AND c.device_id = device.id AND c.state = 'active' AND c.revoked_at IS NULL
       AND c.not_after > %(now)s AND c.first_seen_at IS NOT NULL AND c.retire_at IS NULL AND c.replaced_by_id IS NULL
       AND NOT EXISTS (SELECT FROM devices_certificate o
                        WHERE o.device_id = c.device_id AND o.id <> c.id
                          AND (o.last_seen_at >= c.last_seen_at
                               OR o.id < c.id AND o.revoked_at IS NULL AND o.state IN ('pending', 'active')))
"""


def seen(certificate: Certificate, where: str, now: datetime) -> bool:
    """A device proved that it uses a certificate. The first time makes it ACTIVE, and those before it RETIRING.

    Returns False, with a finding, when it must not be used any more. `where` tells people about the door.
    """
    with connection.cursor() as cursor:
        cursor.execute(_STILL_IN_USE, {"pk": certificate.pk, "now": now})
        if cursor.rowcount:
            return True
    with transaction.atomic():
        device = lock(certificate.device_id)
        row = Certificate.objects.get(pk=certificate.pk)
        if row.revoked_at is not None:
            _report_revoked(row, where)
            return False
        if row.not_after <= now:
            return False
        mine = Certificate.objects.filter(device=device)
        others = mine.exclude(pk=row.pk).aggregate(at=models.Max("last_seen_at"))["at"]
        mine.filter(pk=row.pk).update(
            state=Certificate.State.ACTIVE,
            first_seen_at=row.first_seen_at or now,
            # Always after every other: what was proven last is what is in use, even within one batch.
            last_seen_at=max(now, others + _TICK) if others else now,
            replaced_by=None,
            retire_at=None,
        )
        mine.filter(pk__lt=row.pk, revoked_at__isnull=True, state__in=["pending", "active"]).update(
            state=Certificate.State.RETIRING, replaced_by=row, retire_at=now + settings.CERTIFICATE_OVERLAP
        )
        if row.first_seen_at is None:
            _first_seen(row, device, now)
        elif row.state == Certificate.State.RETIRING:
            # It came back with the old key: whatever it did with the new one, the old one must not be taken away.
            evidence.find(
                "certificate_fell_back",
                f"{where} uses {row.serial} again, though its successor was seen.",
                device_pk=row.device_id,
            )
    return True


def lock(device_pk: int) -> Device:
    """Take a device for oneself until the end of the transaction: whoever changes its certificates does it alone.

    Rows that only point at the device may be written meanwhile.
    """
    return Device.objects.select_for_update(of=("self",), no_key=True).select_related("tenant").get(pk=device_pk)


def _first_seen(row: Certificate, device: Device, now: datetime) -> None:
    evidence.record("certificate.proven", device=device, actor=device.device_id, detail={"serial": row.serial})
    proven = {"state": Renewal.State.PROVEN, "ended_at": now, "detail": ""}
    # It may have been given up before, or have waited for another certificate that was issued later and not used.
    late = Renewal.objects.filter(device=device, state=Renewal.State.FAILED, successor=row).update(**proven)
    opened = Renewal.objects.filter(device=device, state__in=Renewal.OPEN, certificate__lt=row.pk)
    if opened.update(**proven if late else proven | {"successor": row}) or late:
        Finding.objects.filter(kind="renewal_failed", device=device, resolved_at__isnull=True).update(resolved_at=now)


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
        retire_at__lte=now,
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
    """Revoke for good, with every certificate of the same key, and those it may have been used to ask for.

    Whoever has the key could have asked for a successor before: one that was never seen goes too. Returns False when it
    was revoked before. The door then has the device shut out (tasks.py).
    """
    with transaction.atomic():
        device = lock(certificate.device_id)
        valid = Certificate.objects.filter(device=device, revoked_at__isnull=True)
        if not valid.filter(pk=certificate.pk).exists():
            return False
        affected = valid.filter(
            models.Q(pk=certificate.pk)
            | models.Q(key_fingerprint=certificate.key_fingerprint)
            | models.Q(pk__gt=certificate.pk, first_seen_at__isnull=True)
        )
        serials = sorted(affected.values_list("serial", flat=True))
        affected.update(state=Certificate.State.REVOKED, revoked_at=now, reason=reason)
        for serial in serials:
            evidence.record("certificate.revoked", device=device, user=user, reason=reason, detail={"serial": serial})
    return True
