"""Who is calling at an HTTP door of devices: told by the client certificate, and judged by our rows.

The certificate comes from TLS itself (fleetportal/device_https.py puts it into the ASGI scope), or from a proxy that
ends TLS, in the header Client-Cert: as RFC 9440 writes it, or as URL-escaped PEM, because nginx knows no other way.
The header is believed from CLIENT_CERTIFICATE_PROXIES only. Whoever ended TLS has seen the caller prove its key; who
signed the certificate and when it is valid, a proxy may not have looked at. So nothing rests on that here: a
certificate is known by its fingerprint, a maker's by the signature on it, and its time is judged by our clock.
"""

import base64
import ipaddress
import urllib.parse
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request

from devices import certificates, claims, evidence, pki
from devices.errors import CertificateError, ProvisioningError
from devices.models import Certificate, Claim, Device

HEADER = "Client-Cert"
WHERE = "An HTTPS request"
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_MAX_HEADER = 16 * 1024
_NOTED = timedelta(minutes=1)
"""A certificate in steady use is noted as seen once in this time, not with every request."""


@dataclass(frozen=True, slots=True)
class Nobody:
    """A caller without a client certificate."""


@dataclass(frozen=True, slots=True)
class DeviceCaller:
    """A device with one of our certificates."""

    certificate: Certificate
    """Its row, with `device`, `device.tenant` and `device.device_type` at hand."""
    expired: bool = False
    """Good for asking for a new one, where the door said so, and for nothing else."""


@dataclass(frozen=True, slots=True)
class ClaimCaller:
    """Somebody with a claim certificate."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class MakerCaller:
    """A device with the certificate it was born with, signed by a maker whose devices some claim admits."""

    certificate: x509.Certificate
    hardware_id: str


Caller: TypeAlias = Nobody | DeviceCaller | ClaimCaller | MakerCaller


def identify(request: HttpRequest | Request, now: datetime, *, recovering: bool = False) -> Caller:
    """Who is calling. A device's certificate is noted as seen in use, unless it is refused.

    With `recovering` an expired certificate of a device is let through, marked so: only for doors that renew. Raises
    `CertificateError`: forged_header, bad_certificate (400), certificate_unknown, certificate_revoked,
    certificate_expired, certificate_not_yet_valid (401), device_not_active (403).
    """
    certificate = _presented(request)
    if certificate is None:
        return Nobody()
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    rows = Certificate.objects.select_related("device__tenant", "device__device_type", "authority__issued_by")
    row = rows.filter(fingerprint=fingerprint).first()
    if row is not None:
        return _device(row, now, recovering=recovering)
    claim = claims.of_certificate(certificate)
    return ClaimCaller(claim) if claim else _maker(certificate, now)


def _device(row: Certificate, now: datetime, *, recovering: bool) -> DeviceCaller:
    if row.revoked_at is not None:
        certificates.seen(row, WHERE, now)  # leaves the finding
        _refuse_revoked()
    _check_begun(row.not_before, now)
    if row.device.state != Device.State.ACTIVE:
        what = row.device.get_state_display().lower()
        raise CertificateError(f"This device is {what}.", "device_not_active", 403)
    if row.not_after <= now:
        if recovering:
            return DeviceCaller(row, expired=True)
        _refuse_expired(row.not_after)
    steady = row.state == Certificate.State.ACTIVE and row.last_seen_at and now - row.last_seen_at < _NOTED
    if not steady and not certificates.seen(row, WHERE, now):
        _refuse_revoked()  # while we looked
    return DeviceCaller(row)


def _maker(certificate: x509.Certificate, now: datetime) -> MakerCaller:
    """A device with its maker's certificate. What nobody knows leaves no trace in the database."""
    _check_begun(certificate.not_valid_before_utc, now)
    if certificate.not_valid_after_utc <= now:
        _refuse_expired(certificate.not_valid_after_utc)
    try:
        born = MakerCaller(certificate, pki.subject_name(certificate.subject))
        known = _is_clients(certificate) and claims.of_maker(certificate, "", born.hardware_id, now) is not None
    except ProvisioningError:
        known = True  # by several claims; the device type will say by which
    except (ValueError, x509.DuplicateExtension):
        known = False  # a subject or extensions that cannot be read
    if not known:
        raise CertificateError("This client certificate is not known here.", "certificate_unknown", 401)
    return born


def _is_clients(certificate: x509.Certificate) -> bool:
    """May a client use it? TLS asks this of the certificates it verifies; a proxy may not have asked."""
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            return False
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            allowed = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
            if not allowed & set(extension.value):
                return False
    return True


def _check_begun(since: datetime, now: datetime) -> None:
    if now < since:
        raise CertificateError(
            f"This certificate is valid from {since:%Y-%m-%d %H:%M} UTC.", "certificate_not_yet_valid", 401
        )


def _refuse_expired(until: datetime) -> NoReturn:
    raise CertificateError(f"This certificate expired on {until:%Y-%m-%d %H:%M} UTC.", "certificate_expired", 401)


def _refuse_revoked() -> NoReturn:
    raise CertificateError("This certificate was revoked.", "certificate_revoked", 401)


# --- where the certificate comes from -------------------------------------------------------------------------------
def _presented(request: HttpRequest | Request) -> x509.Certificate | None:
    """The certificate whose key the caller has proven to whoever ended TLS."""
    if _is_proxy(request):
        told: str | None = request.headers.get(HEADER)
        return from_header(told) if told else None
    refuse_forged(request)
    scope = getattr(request, "scope", {})  # only of an ASGI server
    chain = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain")
    return _parsed(chain[0].encode()) if chain else None


def _is_proxy(request: HttpRequest | Request) -> bool:
    address = _address(request)
    return address is not None and any(address in network for network in settings.CLIENT_CERTIFICATE_PROXIES)


def refuse_forged(request: HttpRequest | Request) -> None:
    """Refuse a proxy's header from anybody else, with a finding. Raises `CertificateError` (forged_header, 400)."""
    if request.headers.get(HEADER) is not None and not _is_proxy(request):
        what = f"Somebody sent the header {HEADER} who is no proxy of ours."
        evidence.find("forged_header", what, subject=_whereabouts(_address(request)))
        raise CertificateError(f"The header {HEADER} is for proxies only.", "forged_header", 400)


def _whereabouts(address: _Address | None) -> str:
    """What a finding is about: one network of IPv6, in which anybody has more addresses than we have room for."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or "a local socket")


def _address(request: HttpRequest | Request) -> _Address | None:
    """The next hop's; None on a socket without addresses."""
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def from_header(text: str) -> x509.Certificate:
    """The certificate in a proxy's header. Raises `CertificateError` (bad_certificate, 400)."""
    text = text.strip()
    if len(text) > _MAX_HEADER or "," in text:  # several headers arrive as one: somebody else's may be among them
        _refuse_unreadable()
    if not text.startswith(":"):
        return _parsed(urllib.parse.unquote_to_bytes(text))
    try:
        der = base64.b64decode(text.removeprefix(":").removesuffix(":"), validate=True)
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion):
        _refuse_unreadable()


def _parsed(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, x509.InvalidVersion):
        _refuse_unreadable()


def _refuse_unreadable() -> NoReturn:
    raise CertificateError("The client certificate cannot be read.", "bad_certificate", 400)
