"""What makes a CA certificate acceptable. Pure: certificates and `now` come in, a refusal says what is wrong."""

from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from devices import pki

MAX_NAME = 64
"""Characters of a common name (RFC 5280, upper bound ub-common-name)."""
MAX_BYTES = 64 * 1024
Kind = TypeVar("Kind", bound=x509.ExtensionType)


class CertificateRefused(ValueError):
    """A CA certificate that must not be trusted; the text names the mistake."""


def read(text: bytes) -> x509.Certificate:
    """The one certificate in a PEM file. Raises `CertificateRefused`."""
    if len(text) > MAX_BYTES:
        raise CertificateRefused(f"The file has {len(text)} bytes; at most {MAX_BYTES} are read.")
    try:
        found = x509.load_pem_x509_certificates(text)
        keys = [certificate.public_key() for certificate in found if certificate.extensions]
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise CertificateRefused("This is not a certificate in PEM with a supported key.") from error
    if len(found) != 1:
        raise CertificateRefused(f"The file holds {len(found)} certificates; give it one.")
    if any(isinstance(key, rsa.RSAPublicKey) and key.key_size < pki.MIN_RSA_BITS for key in keys):
        raise CertificateRefused(f"The certificate's RSA key has fewer than {pki.MIN_RSA_BITS} bits.")
    return found[0]


def common_name(subject: x509.Name) -> str:
    """The common name. Raises `CertificateRefused` unless there is exactly one, with something in it."""
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise CertificateRefused("The subject must have exactly one common name.")
    return check_name(str(names[0].value))


def check_name(name: str) -> str:
    """The name of an authority, unless it cannot be one: raises `CertificateRefused`."""
    if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > MAX_NAME:
        raise CertificateRefused(f"A name has 1 to {MAX_NAME} printable characters and no space around them.")
    return name


def check_authority(certificate: x509.Certificate, now: datetime) -> None:
    """Refuse what is no CA certificate, or is not valid now. Raises `CertificateRefused`."""
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise CertificateRefused("This is not a CA certificate: its basic constraints do not say CA.")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise CertificateRefused("This CA certificate may not sign certificates: its key usage lacks keyCertSign.")
    if certificate.not_valid_after_utc <= now:
        raise CertificateRefused(f"The certificate expired on {certificate.not_valid_after_utc:%F}.")
    if certificate.not_valid_before_utc > now:
        raise CertificateRefused(f"The certificate is valid only from {certificate.not_valid_before_utc:%F %R} UTC.")


def check_root(certificate: x509.Certificate, now: datetime) -> None:
    """Refuse what cannot be a root of ours. Raises `CertificateRefused`."""
    check_authority(certificate, now)
    if not issued_by(certificate, certificate):
        raise CertificateRefused("The root is not signed by itself: this is not a root certificate.")


def check_issuing(certificate: x509.Certificate, root: x509.Certificate, now: datetime) -> None:
    """Refuse what cannot be an issuing CA below this root. Raises `CertificateRefused`."""
    check_authority(certificate, now)
    if not issued_by(certificate, root):
        raise CertificateRefused("The certificate is not signed by this root.")
    usage, constraints = _extension(certificate, x509.KeyUsage), _extension(certificate, x509.BasicConstraints)
    if usage is None or not usage.crl_sign:
        raise CertificateRefused("An issuing CA signs its revocation list: its key usage lacks cRLSign.")
    if constraints is None or constraints.path_length != 0:
        raise CertificateRefused("An issuing CA signs devices only: its path length must be 0.")
    if not isinstance(certificate.public_key(), ec.EllipticCurvePublicKey):
        raise CertificateRefused("The key of an issuing CA must be an elliptic curve key.")


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Did this one sign that one? Names and signature; never raises."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def same_key(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Are both for one key?"""
    return fingerprint(one) == fingerprint(other)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's public key, hex; what two people compare by telephone."""
    return pki.key_fingerprint(certificate.public_key())  # type: ignore[arg-type]  # any key has these bytes


def _extension(certificate: x509.Certificate, kind: type[Kind]) -> Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
