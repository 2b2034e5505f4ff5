"""Audits of certificates and of those who sign them."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.conf import settings
from django.db.models import Exists, F, Max, Min, OuterRef, Subquery

from devices import broker
from devices.auditing import CRITICAL, WARNING, Audit, Found
from devices.models import Authority, Certificate, Device
from operations import verdicts
from operations.models import CheckedKey

IN_SERVICE = (Device.State.ACTIVE, Device.State.QUARANTINED)
CHECK_BATCH, CHECK_BATCHES = 2_000, 50
"""Certificates parsed at a time, and how many times in one run; what is left waits for the next."""
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}


def expiring(now: datetime) -> Iterator[Found]:
    """Certificates well inside their window without a successor, soonest end first."""
    newer = Certificate.objects.trusted(now).filter(device=OuterRef("device"), pk__gt=OuterRef("pk"))
    rows = Certificate.objects.trusted(now).filter(~Exists(newer), renew_at__lte=now, device__state__in=IN_SERVICE)
    told = rows.order_by("not_after", "pk").values_list("device_id", "serial", "renew_at", "not_after")
    for device, serial, renew_at, not_after in told.iterator(chunk_size=2000):
        if severity := verdicts.certificate(renew_at, not_after, now):
            detail = f"{serial} ends on {_day(not_after)} and has no successor; it was due on {_day(renew_at)}."
            yield Found("certificate_expiring", detail, severity, device)


def expired(now: datetime) -> Iterator[Found]:
    """Devices in service whose last certificate is over: no door lets them in."""
    left = Certificate.objects.filter(device=OuterRef("pk"), revoked_at__isnull=True).order_by("-not_after")
    rows = Device.objects.filter(state__in=IN_SERVICE).annotate(ended=Subquery(left.values("not_after")[:1]))
    for pk, ended in rows.filter(ended__lte=now).order_by("pk").values_list("pk", "ended").iterator(chunk_size=2000):
        yield Found("certificate_expired", f"Its last certificate ended on {_day(ended)}.", CRITICAL, pk)


def shared_keys(now: datetime) -> Iterator[Found]:
    """One key in valid certificates of several devices: whoever has it is each of them."""
    valid = Certificate.objects.filter(revoked_at__isnull=True, not_after__gt=now)
    devices = valid.order_by().values("key_fingerprint").annotate(one=Min("device"), other=Max("device"))
    keys = devices.filter(one__lt=F("other")).values("key_fingerprint")
    rows = valid.filter(key_fingerprint__in=keys).order_by("key_fingerprint", "pk")
    for device, key in rows.values_list("device_id", "key_fingerprint").iterator(chunk_size=2000):
        yield Found("key_shared", f"Another device's certificate has the same key, {key[:16]}….", CRITICAL, device)


def weak_keys(now: datetime) -> Iterator[Found]:
    """Keys below what is accepted today, each device for itself; short RSA keys once for all."""
    check_keys(now)
    rows = CheckedKey.objects.filter(certificate__in=Certificate.objects.trusted(now))
    rows = rows.exclude(algorithm__in=verdicts.GOOD_KEYS)
    weak = rows.exclude(algorithm="RSA", bits__gte=verdicts.RSA_REFUSED).order_by("pk")
    columns = ("certificate__device_id", "certificate__serial", "algorithm", "bits")
    for device, serial, algorithm, bits in weak.values_list(*columns).iterator(chunk_size=2000):
        severity = verdicts.key(algorithm, bits) or WARNING
        yield Found("weak_key", f"{serial} has a key of {algorithm}, {bits} bits.", severity, device, serial)
    if short := rows.filter(algorithm="RSA", bits__range=(verdicts.RSA_REFUSED, verdicts.RSA_SHORT - 1)).count():
        severity = verdicts.key("RSA", verdicts.RSA_REFUSED) or WARNING
        detail = f"{short} certificates have RSA keys below {verdicts.RSA_SHORT} bits: good until 2030 (SP 800-57)."
        yield Found("weak_key", detail, severity, subject="RSA")


def check_keys(now: datetime) -> int:
    """Parse certificates that no run has parsed yet. Returns how many."""
    checked = last = 0
    new = Certificate.objects.trusted(now).filter(checked_key__isnull=True).order_by("pk").values_list("pk", "pem")
    for _ in range(CHECK_BATCHES):
        rows = list(new.filter(pk__gt=last)[:CHECK_BATCH])
        CheckedKey.objects.bulk_create(
            [CheckedKey(certificate_id=pk, **key_facts(pem)) for pk, pem in rows], ignore_conflicts=True
        )
        checked += len(rows)
        if len(rows) < CHECK_BATCH:
            break
        last = rows[-1][0]
    return checked


def key_facts(pem: str) -> dict[str, Any]:
    """`algorithm` and `bits` of a certificate's key; ("unreadable", 0) of one that cannot be parsed."""
    try:
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return {"algorithm": "unreadable", "bits": 0}
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"algorithm": _CURVES.get(key.curve.name, key.curve.name)[:50], "bits": key.key_size}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"algorithm": "Ed25519", "bits": 256}
    name = "RSA" if isinstance(key, rsa.RSAPublicKey) else type(key).__name__
    return {"algorithm": name[:50], "bits": getattr(key, "key_size", 0)}


def authorities(now: datetime) -> Iterator[Found]:
    """Authorities that still sign or admit and end before what hangs on them can be replaced."""
    for row in Authority.objects.filter(active=True).order_by("not_after"):
        if severity := verdicts.authority(row.kind, row.not_after - now, settings.CERTIFICATE_LIFETIME):
            detail = f"{row.get_kind_display()} {row.name!r} ends on {_day(row.not_after)}."
            yield Found("ca_expiring", detail, severity, subject=row.name)


def revocation_lists(now: datetime) -> Iterator[Found]:
    """Lists that end soon (the broker then refuses every device), or that nobody rewrites."""
    ends, age = broker.crl_expires_at(), broker.crl_age(now)
    if ends is None or age is None:
        yield Found("crl_expiring", "The revocation list of an issuing CA is missing.", CRITICAL)
        return
    if severity := verdicts.crl(ends - now):
        yield Found("crl_expiring", f"The revocation list ends at {ends:%Y-%m-%d %H:%M} UTC.", severity)
    if age > broker.CRL_OLD:
        hours = age / timedelta(hours=1)
        yield Found("crl_old", f"The revocation list is {hours:.0f} h old; it is to be rewritten hourly.", WARNING)


def server(now: datetime) -> Iterator[Found]:
    """The certificate the broker and the HTTPS door show."""
    chain = x509.load_pem_x509_certificates((settings.BROKER_DIRECTORY / "server.pem").read_bytes())
    ends = chain[0].not_valid_after_utc
    if severity := verdicts.server(ends - now):
        yield Found("server_certificate_expiring", f"The broker's own certificate ends on {_day(ends)}.", severity)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


AUDITS = [
    Audit("certificates-expiring", ("certificate_expiring",), expiring),
    Audit("certificates-expired", ("certificate_expired",), expired),
    Audit("shared-keys", ("key_shared",), shared_keys),
    Audit("weak-keys", ("weak_key",), weak_keys),
    Audit("authorities", ("ca_expiring",), authorities),
    Audit("revocation-lists", ("crl_expiring", "crl_old"), revocation_lists, often=True),
    Audit("server-certificate", ("server_certificate_expiring",), server),
]
