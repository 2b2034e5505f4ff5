"""Who the device is: a key that never leaves it, the certificate for that key, and the proof that it uses it."""

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

KEY, REQUEST, ENROLMENT, CREDENTIALS = "key.pem", "request.pem", "enrolment.json", "credentials.pem"


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
    """An enrolled device."""

    enrolment: Enrolment
    credentials: Path
    """One PEM file with key, certificate and chain, for `SSLContext.load_cert_chain`: they change together."""
    key: ec.EllipticCurvePrivateKey
    serial: str

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
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hardware_id)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        write(path, csr.public_bytes(serialization.Encoding.PEM))
    return path.read_text()


def store(directory: Path, enrolment: Enrolment) -> Identity:
    """Keep the answer to `request`. Raises IdentityError if the certificate is not for the device's key."""
    key = _key(directory / KEY)
    certificate = _certificate(enrolment.certificate)
    if certificate.public_key() != key.public_key():
        raise IdentityError("the certificate is for another key")
    write(directory / ENROLMENT, msgspec.json.encode(enrolment))
    pem = "\n".join((_pem(key).decode(), enrolment.certificate.strip(), enrolment.chain.strip(), ""))
    write(directory / CREDENTIALS, pem.encode())  # last: with it the device is enrolled
    return Identity(enrolment, directory / CREDENTIALS, key, f"{certificate.serial_number:x}")


def load(directory: Path) -> Identity | None:
    """The stored identity, or None before enrolment. Raises IdentityError if it cannot be read."""
    path = directory / CREDENTIALS
    if not path.exists():
        return None
    try:
        enrolment = msgspec.json.decode((directory / ENROLMENT).read_bytes(), type=Enrolment)
        pem = path.read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        serial = x509.load_pem_x509_certificate(pem).serial_number
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise IdentityError(f"{directory} is damaged: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{path} holds no elliptic curve key")
    return Identity(enrolment, path, key, f"{serial:x}")


def write(path: Path, content: bytes) -> None:
    """Replace a file, readable by its owner alone, so that a power cut leaves the old or the new one, whole."""
    draft = path.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself
    finally:
        os.close(directory)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        write(path, _pem(ec.generate_private_key(ec.SECP256R1())))
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise IdentityError(f"{path} is damaged: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{path} holds no elliptic curve key")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def _certificate(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise IdentityError(f"not a certificate: {error}") from error
