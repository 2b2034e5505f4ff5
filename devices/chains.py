"""What a certificate says, told to people, and whether each in its chain is signed by the next. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from devices import ca_rules, pki


@dataclass(frozen=True, slots=True)
class Facts:
    """What stands in one certificate."""

    subject: str
    serial: str
    not_before: datetime
    not_after: datetime
    key: str
    fingerprint: str
    """SHA-256 of the whole certificate, hex in pairs: as `openssl x509 -fingerprint` prints it."""

    def is_valid(self, now: datetime) -> bool:
        """Is it inside its own dates?"""
        return self.not_before <= now < self.not_after


@dataclass(frozen=True, slots=True)
class Checked:
    """One certificate of a chain and the verdict about its signature."""

    facts: Facts | None
    """None: it cannot be read."""
    verified: bool | None
    """None: it cannot be told here, as what signed it is not kept."""
    verdict: str


def key_name(key: object) -> str:
    """Kind and size of a public key."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        curve = {"secp256r1": "P-256", "secp384r1": "P-384"}.get(key.curve.name, key.curve.name)
        return f"{curve}, {key.key_size} bits"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA, {key.key_size} bits"
    return "Ed25519, 256 bits" if isinstance(key, ed25519.Ed25519PublicKey) else type(key).__name__


def pairs(hexadecimal: str) -> str:
    """`AB:CD:…`: how fingerprints are read aloud and compared."""
    text = hexadecimal.upper()
    return ":".join(text[at : at + 2] for at in range(0, len(text), 2))


def facts(certificate: x509.Certificate) -> Facts:
    """What stands in a certificate."""
    return Facts(
        subject=certificate.subject.rfc4514_string(),
        serial=pki.serial_text(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key=key_name(certificate.public_key()),
        fingerprint=pairs(certificate.fingerprint(hashes.SHA256()).hex()),
    )


def check(pems: Sequence[str]) -> list[Checked]:
    """Judge a chain, the leaf first: each must be signed by the next, and the last by itself."""
    certificates = [_read(text) for text in pems]
    issuers = [*certificates[1:], *certificates[-1:]]
    return [_judge(*pair) for pair in zip(certificates, issuers, strict=True)]


def _judge(certificate: x509.Certificate | None, issuer: x509.Certificate | None) -> Checked:
    if certificate is None:
        return Checked(None, False, "This certificate cannot be read.")
    told = facts(certificate)
    if issuer is None:
        return Checked(told, False, "The certificate above it cannot be read.")
    signed = ca_rules.issued_by(certificate, issuer)
    if issuer is not certificate:
        name = issuer.subject.rfc4514_string()
        return Checked(told, signed, f"Signed by {name}" if signed else f"NOT signed by {name}")
    if signed:
        return Checked(told, True, "Signed by itself: a root")
    return Checked(told, None, f"Signed by {certificate.issuer.rfc4514_string()}, which is not kept here")


def _read(text: str) -> x509.Certificate | None:
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
        certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return certificate
