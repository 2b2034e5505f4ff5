"""The certificate authorities: made once, then used to sign."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection, transaction

from devices import evidence, keys, pki
from devices.errors import CertificateError
from devices.models import Authority

ROOT_LIFETIME = timedelta(days=20 * 365)
ISSUING_LIFETIME = timedelta(days=5 * 365)
_LOCK = 0xCACA  # advisory lock: two processes that start at once make one CA


@dataclass(frozen=True, slots=True)
class Signer:
    """An authority with its key at hand."""

    row: Authority
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_all(now: datetime) -> bool:
    """Make root, issuing CA and the separate claim root, where there are none yet. Returns whether it did."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        if Authority.objects.exists():
            return False
        root = _make("Fleetportal device root", Authority.Kind.ROOT, None, ROOT_LIFETIME, now)
        _make("Fleetportal issuing CA 1", Authority.Kind.ISSUING, root, ISSUING_LIFETIME, now)
        _make("Fleetportal claim root", Authority.Kind.CLAIM, None, ROOT_LIFETIME, now)
        return True


def _make(name: str, kind: str, parent: Signer | None, lifetime: timedelta, now: datetime) -> Signer:
    key = pki.new_key()
    if parent is None:
        certificate = pki.make_root(name, key, lifetime, now)
    else:
        certificate = pki.make_issuing(name, key.public_key(), parent.certificate, parent.key, lifetime, now)
    key_name = f"{kind}-{pki.serial_text(certificate)[:12]}"
    keys.backend().save(key_name, key)
    row = Authority.objects.create(
        name=name,
        kind=kind,
        certificate=pki.pem(certificate),
        issued_by=parent.row if parent else None,
        key_name=key_name,
        not_after=certificate.not_valid_after_utc,
    )
    evidence.record("authority.made", detail={"name": name, "serial": pki.serial_text(certificate)})
    return Signer(row, certificate, key)


def signer(kind: str = Authority.Kind.ISSUING) -> Signer:
    """The authority that signs now. Raises `CertificateError` (no_authority) before `make_ca`."""
    row = Authority.objects.filter(kind=kind, active=True).first()
    if row is None:
        raise CertificateError("There is no certificate authority yet: run manage.py make_ca.", "no_authority", 503)
    return open_signer(row)


def open_signer(row: Authority) -> Signer:
    """An authority's row with its certificate parsed and its key decrypted."""
    return Signer(row, x509.load_pem_x509_certificate(row.certificate.encode()), keys.backend().load(row.key_name))


def chain(row: Authority) -> str:
    """PEM of the CA certificates from this one up, without the root: what a server or device sends after its own."""
    parts = []
    at: Authority | None = row
    while at is not None and at.kind != Authority.Kind.ROOT:
        parts.append(at.certificate)
        at = at.issued_by
    return "".join(parts)
