"""Who the device is: a key that never leaves it, the certificate for that key, and the proof that it uses it.

`credentials.py` keeps the certificates that come later, beside the first one.
"""

from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devices import contract
from devices.contract import CertificateProof

KEY, REQUEST, CREDENTIALS = "key.pem", "request.pem", "credentials.pem"
ENROLMENT, ENROLMENT_COPY = "enrolment.json", "enrolment-copy.json"
"""Twice, because no certificate could replace it: a device that lost one of them is still itself."""


class IdentityError(Exception):
    """The state directory or the server's answer does not fit together."""


class Broker(msgspec.Struct, frozen=True):
    """Where devices speak MQTT over TLS."""

    host: str
    port: int


class Endpoints(msgspec.Struct, frozen=True):
    """Where the portal listens to this device."""

    mqtt: Broker
    https: str = ""


class Enrolment(msgspec.Struct, frozen=True):
    """The portal's answer to a request for an identity. `chain` is PEM: the issuing CAs."""

    device_id: str
    tenant: str
    device_type: str
    certificate: str
    chain: str
    endpoints: Endpoints


@dataclass(frozen=True, slots=True)
class Identity:
    """An enrolled device, with one of its certificates. Times are epoch seconds."""

    enrolment: Enrolment
    credentials: Path
    """One PEM file with key, certificate and chain, for `SSLContext.load_cert_chain`: they change together."""
    key: ec.EllipticCurvePrivateKey
    serial: str
    not_before: float
    not_after: float
    received: float
    """By this device's clock."""

    def proof(self, session: int, boot_id: str) -> CertificateProof:
        """The signature that shows which certificate this session uses."""
        statement = contract.proof_statement(self.enrolment.device_id, session, boot_id, self.serial)
        signature = self.key.sign(statement, ec.ECDSA(hashes.SHA256()))
        return CertificateProof(self.serial, b64encode(signature).decode())


def request(directory: Path, hardware_id: str) -> str:
    """The device's certificate request (PKCS#10 PEM, P-256); made once, with its key, and the same ever after."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _key(directory / KEY)
    path = directory / REQUEST
    if not path.exists():
        write(path, csr(key, hardware_id).encode())
    return path.read_text()


def store(directory: Path, enrolment: Enrolment) -> Identity:
    """Keep the answer to `request`. Raises IdentityError if the certificate is not for the device's key."""
    content = bundle(_key(directory / KEY), enrolment.certificate, enrolment.chain)
    for name in (ENROLMENT_COPY, ENROLMENT):
        write(directory / name, msgspec.json.encode(enrolment))
    write(directory / CREDENTIALS, content)  # last: with it the device is enrolled
    return read(directory / CREDENTIALS, enrolment)


def enrolment(directory: Path) -> Enrolment:
    """What the portal answered to `request`. Raises IdentityError if neither copy can be read."""
    for name in (ENROLMENT, ENROLMENT_COPY):
        try:
            return msgspec.json.decode((directory / name).read_bytes(), type=Enrolment)
        except (OSError, msgspec.MsgspecError) as error:
            trouble = IdentityError(f"{directory / name} is damaged: {error}")
    raise trouble


def read(path: Path, enrolment: Enrolment) -> Identity:
    """The identity in a credentials file. Raises IdentityError if anything in it is missing or does not fit."""
    try:
        content = path.read_bytes()
        key = load_key(content)
        leaf, *_ = x509.load_pem_x509_certificates(content)
        received = path.stat().st_mtime
    except (OSError, ValueError) as error:
        raise IdentityError(f"{path} is damaged: {error}") from error
    if not content.rstrip().endswith(b"-----END CERTIFICATE-----"):  # a parser takes no notice
        raise IdentityError(f"{path} is damaged: the end of the chain is missing")
    if leaf.public_key() != key.public_key():
        raise IdentityError(f"{path} is damaged: the certificate is for another key")
    begin, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return Identity(enrolment, path, key, f"{leaf.serial_number:x}", begin, end, received)


def csr(key: ec.EllipticCurvePrivateKey, common_name: str) -> str:
    """A new certificate request, PKCS#10 PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def bundle(key: ec.EllipticCurvePrivateKey, certificate: str, chain: str, common_name: str = "") -> bytes:
    """The content of a credentials file. Raises IdentityError if the parts do not fit together."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate.encode())
        if chain.strip():  # else the root itself has issued it
            x509.load_pem_x509_certificates(chain.encode())
    except ValueError as error:
        raise IdentityError(f"not a certificate with its chain: {error}") from error
    if leaf.public_key() != key.public_key():
        raise IdentityError("the certificate is for another key")
    names = [name.value for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if common_name and names != [common_name]:
        raise IdentityError(f"the certificate is for {names}")
    return "\n".join((key_pem(key), certificate.strip(), chain.strip(), "")).encode()


def write(path: Path, content: bytes) -> None:
    """Replace a file, readable by its owner alone, so that a power cut leaves the old or the new one, whole."""
    draft = path.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    rename(draft, path)


def rename(source: Path, target: Path) -> None:
    """Rename within a directory, durably."""
    source.rename(target)
    _sync(target.parent)


def remove(path: Path) -> None:
    """Delete a file, if it is there, durably."""
    path.unlink(missing_ok=True)
    _sync(path.parent)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The first private key in PEM text. Raises ValueError if there is none of an elliptic curve."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("no elliptic curve key")
    return key


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """A private key as PEM text."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        write(path, key_pem(new_key()).encode())
    try:
        return load_key(path.read_bytes())
    except ValueError as error:
        raise IdentityError(f"{path} is damaged: {error}") from error


def _sync(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
