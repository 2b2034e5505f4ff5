"""The certificate authorities: made once, then used to sign. How they succeed one another: succession.py."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.db import connection, transaction

from devices import evidence, keys, pki
from devices.errors import CertificateError
from devices.models import Authority

ROOT_LIFETIME = timedelta(days=20 * 365)
ISSUING_LIFETIME = timedelta(days=5 * 365)
CLAIM_ROOT = "Fleetportal claim root"
ACTOR = "make_ca"
"""Who is said in the evidence to have changed an authority: nobody can but through the command line."""
_LOCK = 0xCACA  # advisory lock: two processes that start at once make one CA


@dataclass(frozen=True, slots=True)
class Signer:
    """An authority with its key at hand."""

    row: Authority
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """A transaction in which nobody else changes authorities."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        yield


def make_all(now: datetime) -> bool:
    """Make root, issuing CA and the separate claim root, where there are none yet. Returns whether it did."""
    with one_at_a_time():
        if Authority.objects.exclude(kind=Authority.Kind.MAKER).exists():
            return False
        root = make("Fleetportal device root", Authority.Kind.ROOT, None, ROOT_LIFETIME, now)
        make("Fleetportal issuing CA 1", Authority.Kind.ISSUING, root, ISSUING_LIFETIME, now)
        make_claim_root(now)
        return True


def make_claim_root(now: datetime) -> None:
    """Make the root of claim certificates, where there is none yet."""
    if not Authority.objects.filter(kind=Authority.Kind.CLAIM).exists():
        make(CLAIM_ROOT, Authority.Kind.CLAIM, None, ROOT_LIFETIME, now)


def make(name: str, kind: str, parent: Signer | None, lifetime: timedelta, now: datetime) -> Signer:
    """Make an authority, its key in CA_KEY_BACKEND; active when it is the first of its kind.

    Call it inside `one_at_a_time`. A crash leaves at most a key that nobody uses.
    """
    key_name = f"{kind}-{secrets.token_hex(6)}"
    key = keys.backend().make(key_name)
    if parent is None:
        certificate = pki.make_root(name, key, lifetime, now)
    else:
        certificate = pki.make_issuing(name, key.public_key(), parent.certificate, parent.key, lifetime, now)
    row = add(name, kind, certificate, parent.row if parent else None, settings.CA_KEY_BACKEND, key_name)
    return Signer(row, certificate, key)


def add(
    name: str, kind: str, certificate: x509.Certificate, issued_by: Authority | None, key_backend: str, key_name: str
) -> Authority:
    """Add an authority and the evidence of it. But for makers, it is active when no other of its kind is."""
    taken = kind != Authority.Kind.MAKER and Authority.objects.filter(kind=kind, active=True).exists()
    row = Authority.objects.create(
        name=name,
        kind=kind,
        certificate=pki.pem(certificate),
        issued_by=issued_by,
        key_backend=key_backend,
        key_name=key_name,
        active=not taken,
        not_after=certificate.not_valid_after_utc,
    )
    detail = {"name": name, "kind": kind, "serial": pki.serial_text(certificate), "key_backend": key_backend}
    evidence.record("authority.made", actor=ACTOR, detail=detail)
    return row


def signer(kind: str = Authority.Kind.ISSUING) -> Signer:
    """The authority that signs now. Raises `CertificateError`: no_authority before `make_ca`, ca_key_unavailable."""
    return open_signer(signer_row(kind))


def signer_row(kind: str = Authority.Kind.ISSUING) -> Authority:
    """The row of the authority that signs now. Raises `CertificateError` (no_authority) before `make_ca`."""
    row = Authority.objects.filter(kind=kind, active=True).first()
    if row is None:
        raise CertificateError("There is no certificate authority yet: run manage.py make_ca.", "no_authority", 503)
    return row


def open_signer(row: Authority) -> Signer:
    """An authority's row with its certificate parsed and its key opened. Raises `CertificateError`."""
    return Signer(row, parsed(row), keys.backend(row.key_backend).load(row.key_name))


def parsed(row: Authority) -> x509.Certificate:
    """An authority's certificate."""
    return x509.load_pem_x509_certificate(row.certificate.encode())


def chain(row: Authority) -> str:
    """PEM of the CA certificates from this one up, without the root: what a server or device sends after its own."""
    parts = []
    at: Authority | None = row
    while at is not None and at.kind != Authority.Kind.ROOT:
        parts.append(at.certificate)
        at = at.issued_by
    return "".join(parts)
