"""The files the broker lives by: whom it trusts, its own certificate, who is revoked, who may do what.

Written atomically into BROKER_DIRECTORY; whoever runs the broker watches them and sends it a SIGHUP (the embedded
run and docker/mosquitto do). An expired CRL blocks every client, so beat rewrites it long before it expires.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from devices import authorities, contract, pki
from devices.models import Authority, Certificate, Device

CRL_LIFETIME = timedelta(days=7)
SERVER_LIFETIME = timedelta(days=90)
_RENEW_SERVER_BEFORE = timedelta(days=30)
_LOCK = 0xB80E  # advisory lock: one writer at a time, so that an older list never replaces a newer one


def write_all(now: datetime) -> None:
    """Write every file afresh. Safe to repeat, and for two workers at once."""
    folder: Path = settings.BROKER_DIRECTORY
    folder.mkdir(parents=True, exist_ok=True)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        roots = Authority.objects.filter(kind=Authority.Kind.ROOT).order_by("pk")
        claims = Authority.objects.filter(kind=Authority.Kind.CLAIM).order_by("pk")
        trusted = "".join(row.certificate for row in roots)
        _write(folder / "ca.pem", trusted)
        # The HTTPS door also listens to devices that have only a claim; the broker never trusts those.
        _write(folder / "device_https_ca.pem", trusted + "".join(row.certificate for row in claims))
        _write_server(folder, now)
        _write(folder / "crl.pem", _crls(now))
        _write(folder / "acl", _acl())


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, only when it changed. Mode 640: the broker reads through the folder's group."""
    if path.exists() and path.read_text() == text:
        return
    temporary = path.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    with os.fdopen(handle, "w") as file:
        os.fchmod(file.fileno(), 0o640)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _write_server(folder: Path, now: datetime) -> None:
    """The broker's and the HTTPS door's own certificate; renewed when a month is left or its names changed."""
    hosts = [settings.DEVICE_MQTT_HOST, urlsplit(settings.DEVICE_HTTPS_URL).hostname or "", "localhost", "127.0.0.1"]
    path = folder / "server.pem"
    ca = authorities.signer()
    if path.exists() and (folder / "server.key").exists():
        present = x509.load_pem_x509_certificate(path.read_bytes())
        names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        covered = {
            str(value)
            for value in [*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress)]
        }
        key_present = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
        if (
            # A process that died between the two files left a key beside a certificate of another.
            key_present.public_key() == present.public_key()
            and present.not_valid_after_utc - now > _RENEW_SERVER_BEFORE
            and set(hosts) <= covered
            and present.issuer == ca.certificate.subject
        ):
            return
    key = pki.new_key()
    leaf = pki.sign_server(hosts, key.public_key(), ca.certificate, ca.key, SERVER_LIFETIME, now)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(folder / "server.key", text.decode())
    _write(path, pki.pem(leaf) + authorities.chain(ca.row))


def _crls(now: datetime) -> str:
    """The lists of all issuing CAs, one after the other. A list is signed even when it is empty."""
    texts = []
    for row in Authority.objects.filter(kind=Authority.Kind.ISSUING).order_by("pk"):
        Authority.objects.filter(pk=row.pk).update(crl_number=F("crl_number") + 1)
        row.refresh_from_db(fields=["crl_number"])
        ca = authorities.open_signer(row)
        revoked = Certificate.objects.revoked().filter(authority=row, not_after__gt=now)
        entries = [(int(serial, 16), date) for serial, date in revoked.values_list("serial", "revoked_at") if date]
        crl = pki.make_crl(ca.certificate, ca.key, entries, row.crl_number, CRL_LIFETIME, now)
        texts.append(pki.pem(crl))
    return "".join(texts)


def _acl() -> str:
    quarantined = Device.objects.filter(state=Device.State.QUARANTINED).order_by("device_id")
    lines = contract.acl_patterns()
    for device_id in quarantined.values_list("device_id", flat=True):
        lines += ["", *contract.quarantine_acl(device_id)]
    return "\n".join([*lines, ""])


def crl_expires_at() -> datetime | None:
    """When the list the broker uses expires; None when there is none yet."""
    path: Path = settings.BROKER_DIRECTORY / "crl.pem"
    if not path.exists():
        return None
    return x509.load_pem_x509_crl(path.read_bytes()).next_update_utc
