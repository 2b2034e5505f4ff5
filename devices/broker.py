"""The files the broker lives by: whom it trusts, its own certificate, who is revoked, who may do what.

Written atomically into BROKER_DIRECTORY; whoever runs the broker watches them and sends it a SIGHUP (the embedded
run and docker/mosquitto do). An expired CRL blocks every client of its CA, so beat rewrites it long before it expires.
"""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from devices import authorities, ca_rules, contract, evidence, pki
from devices.errors import CertificateError
from devices.models import Authority, Certificate, Device, Finding

CRL_LIFETIME = timedelta(days=7)
CRL_OLD = timedelta(hours=3)
"""Beat rewrites the lists hourly; one older than this says that it does not."""
SERVER_LIFETIME = timedelta(days=90)
KEY_UNAVAILABLE = "ca_key_unavailable"
_RENEW_SERVER_BEFORE = timedelta(days=30)
_CHUNK = 10_000  # rows of a revocation list fetched at a time
Result = TypeVar("Result")
_LOCK = 0xB80E  # advisory lock: one writer at a time, so that an older list never replaces a newer one


def write_all(now: datetime) -> None:
    """Write every file afresh. Safe to repeat, and for two workers at once.

    An issuing CA whose key cannot be opened keeps its last list and gets a finding; all the rest is written. Raises
    `CertificateError`: no_authority before `make_ca`, ca_key_unavailable when there has never been a certificate for
    the broker and none can be made.
    """
    folder: Path = settings.BROKER_DIRECTORY
    folder.mkdir(parents=True, exist_ok=True)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        if not Authority.objects.filter(kind=Authority.Kind.ISSUING).exists():
            raise CertificateError("There is no certificate authority yet: run manage.py make_ca.", "no_authority", 503)
        _write(folder / "ca.pem", _trusted(Authority.Kind.ROOT))
        # The HTTPS door also listens to devices that have only a claim, or what their maker gave them (the broker never
        # trusts those), and to clients that show their own certificate without the issuing CA's.
        others = b"".join(map(_trusted, (Authority.Kind.ISSUING, Authority.Kind.CLAIM, Authority.Kind.MAKER)))
        _write(folder / "device_https_ca.pem", _trusted(Authority.Kind.ROOT) + others)
        _write_crls(folder, now)
        _write(folder / "acl", _acl().encode())
        _write_server(folder, now)
    if not (folder / "server.pem").exists():
        raise CertificateError("No CA key opens to sign the broker's certificate.", KEY_UNAVAILABLE, 503)


def _trusted(kind: str) -> bytes:
    rows = Authority.objects.filter(kind=kind).order_by("pk")
    if kind == Authority.Kind.MAKER:
        rows = rows.filter(active=True)
    return "".join(row.certificate for row in rows).encode()


def _write(path: Path, content: bytes) -> None:
    """Replace a file in one step, only when it changed. Mode 640: the broker reads through the folder's group."""
    if path.exists() and path.read_bytes() == content:
        return
    temporary = path.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), 0o640)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _acl() -> str:
    quarantined = Device.objects.filter(state=Device.State.QUARANTINED).order_by("device_id")
    lines = contract.acl_patterns()
    for device_id in quarantined.values_list("device_id", flat=True):
        lines += ["", *contract.quarantine_acl(device_id)]
    return "\n".join([*lines, ""])


def _signed(row: Authority, sign: Callable[[authorities.Signer], Result], now: datetime) -> Result | None:
    """What this authority signs; None, with a finding, when its key does not open. One that opens again ends it."""
    try:
        made = sign(authorities.open_signer(row))
    except CertificateError as error:
        evidence.find(KEY_UNAVAILABLE, str(error), subject=row.name, severity=Finding.Severity.CRITICAL)
        return None
    told = Finding.objects.filter(kind=KEY_UNAVAILABLE, subject=row.name, resolved_at__isnull=True)
    if told.update(resolved_at=now):
        evidence.record("finding.resolved", detail={"kind": KEY_UNAVAILABLE, "subject": row.name})
    return made


def _issuing(until: datetime | Now) -> QuerySet[Authority]:
    """Issuing CAs that live longer than this, and whose key is not given up."""
    rows = Authority.objects.filter(kind=Authority.Kind.ISSUING, not_after__gt=until)
    return rows.exclude(key_backend=Authority.Backend.NONE)


# --- the broker's own certificate -----------------------------------------------------------------------------------
def _write_server(folder: Path, now: datetime) -> None:
    """The broker's and the HTTPS door's own certificate; renewed when a month is left or its names changed."""
    hosts = [settings.DEVICE_MQTT_HOST, urlsplit(settings.DEVICE_HTTPS_URL).hostname or "", "localhost", "127.0.0.1"]
    row = _server_authority(now)
    if row is None or _serves(folder, hosts, row, now):
        return
    key = pki.new_key()
    leaf = _signed(
        row,
        lambda ca: pki.sign_server(hosts, key.public_key(), ca.certificate, ca.key, SERVER_LIFETIME, now),
        now,
    )
    if leaf is None:
        return
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write(folder / "server.key", key.private_bytes(encoding, form, serialization.NoEncryption()))
    _write(folder / "server.pem", (pki.pem(leaf) + authorities.chain(row)).encode())


def _server_authority(now: datetime) -> Authority | None:
    """Who signs the broker's certificate: the active issuing CA, but one below the oldest root goes before.

    Devices trust the roots they knew when they joined: a second root must not lock out those who know only the first.
    """
    rows = _issuing(now + _RENEW_SERVER_BEFORE).filter(issued_by__not_after__gt=now) or _issuing(now)
    return min(rows, key=lambda row: (row.issued_by_id or 0, not row.active, -row.pk), default=None)


def _serves(folder: Path, hosts: list[str], row: Authority, now: datetime) -> bool:
    """Is the certificate that is there still good?"""
    path = folder / "server.pem"
    if not (path.exists() and (folder / "server.key").exists()):
        return False
    present = x509.load_pem_x509_certificate(path.read_bytes())
    names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    covered = {
        str(value) for value in [*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress)]
    }
    key_present = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
    until = present.not_valid_after_utc
    return (
        # A process that died between the two files left a key beside a certificate of another.
        key_present.public_key() == present.public_key()
        and (until - now > _RENEW_SERVER_BEFORE or until >= row.not_after)  # none outlives its CA
        and set(hosts) <= covered
        and ca_rules.issued_by(present, authorities.parsed(row))
    )


# --- revocation lists -----------------------------------------------------------------------------------------------
def crl_name(authority_pk: int) -> str:
    """The name of an issuing CA's list in files and addresses, without its ending."""
    return f"ca-{authority_pk}"


def crl_der(authority_pk: int) -> bytes:
    """The latest signed list of one issuing CA, DER. Raises `CertificateError` (crl_missing, 404)."""
    try:
        return _crl_path(authority_pk).read_bytes()
    except FileNotFoundError as error:
        raise CertificateError("There is no revocation list of this authority.", "crl_missing", 404) from error


def withdraw_crl(authority_pk: int) -> None:
    """Forget an issuing CA's list: with the next `write_all` the broker refuses every certificate of the CA."""
    _crl_path(authority_pk).unlink(missing_ok=True)


def crl_expires_at() -> datetime | None:
    """When the first of the lists in use expires; None when one is missing."""
    lists = _crls_in_use()
    return min((crl.next_update_utc for crl in lists if crl.next_update_utc), default=None) if lists else None


def crl_age(now: datetime) -> timedelta | None:
    """How long ago the oldest of the lists in use was signed; None when one is missing. See CRL_OLD."""
    lists = _crls_in_use()
    return max(now - crl.last_update_utc - pki.CLOCK_SKEW for crl in lists) if lists else None


def _crls_in_use() -> list[x509.CertificateRevocationList]:
    """The lists that must be renewed; empty when one of them is missing."""
    found = [_read_crl(row.pk) for row in _issuing(Now())]
    return [crl for crl in found if crl is not None] if None not in found else []


def _crl_path(authority_pk: int) -> Path:
    folder: Path = settings.BROKER_DIRECTORY
    return folder / f"crl-{crl_name(authority_pk)}.crl"


def _read_crl(authority_pk: int) -> x509.CertificateRevocationList | None:
    path = _crl_path(authority_pk)
    return x509.load_der_x509_crl(path.read_bytes()) if path.exists() else None


def _write_crls(folder: Path, now: datetime) -> None:
    """A list for each issuing CA, and all of them in one file for the broker.

    Mosquitto looks for a list of the CA that signed the device's certificate, and for none of the root. Of a CA whose
    key does not open the last list stays while it is valid; then its devices are refused, and no others.
    """
    for row in _issuing(now).order_by("pk"):
        _renew_crl(row, now)
    rows = Authority.objects.filter(kind=Authority.Kind.ISSUING, not_after__gt=now).order_by("pk")
    lists = [crl for row in rows if (crl := _read_crl(row.pk)) is not None]
    valid = "".join(pki.pem(crl) for crl in lists if crl.next_update_utc and crl.next_update_utc > now)
    if valid:  # without any list the broker would not even start
        _write(folder / "crl.pem", valid.encode())


def _renew_crl(row: Authority, now: datetime) -> None:
    """Sign a list, even an empty one, with a greater number than the last that was written."""
    number, last = row.crl_number, _read_crl(row.pk)
    if last is not None:  # a process that died after writing left the row behind
        number = max(number, last.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
    revoked = Certificate.objects.revoked().filter(authority=row, not_after__gt=now).order_by()
    rows = revoked.values_list("serial", "revoked_at").iterator(chunk_size=_CHUNK)
    entries = ((int(serial, 16), date) for serial, date in rows if date)
    crl = _signed(row, lambda ca: pki.make_crl(ca.certificate, ca.key, entries, number + 1, CRL_LIFETIME, now), now)
    if crl is not None:
        Authority.objects.filter(pk=row.pk).update(crl_number=number + 1)
        _write(_crl_path(row.pk), crl.public_bytes(serialization.Encoding.DER))
