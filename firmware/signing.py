r"""Signatures over firmware: what is signed, and whether a signature is good. Pure; a device carries this file.

The manifest of an artifact is the line that `sha256sum` prints, `<sha256 hex>  <file name>\n`. A detached signature
over it is ECDSA P-256 with SHA-256 (DER: `openssl dgst -sha256 -sign key.pem manifest`, or Base64 of the same, or
the bundle around it: `cosign sign-blob --key`), or Ed25519 (RFC 8032: `openssl pkeyutl -sign -rawin`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

ECDSA_P256, ED25519 = "ecdsa-p256", "ed25519"
_ED25519_BYTES = 64
_DER_SEQUENCE, _DER_INTEGER = b"\x30", b"\x02"
_LONGEST = 1024
LONGEST_BUNDLE = 64 * 1024
"""Most bytes that `read_signature` reads: doors need not take more."""


class SigningError(ValueError):
    """A key or signature is not what it has to be. The text is for people."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signs firmware."""

    algorithm: str
    fingerprint: str
    """SHA-256 of the SubjectPublicKeyInfo in DER, hex."""
    pem: str
    _key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Is it this key's signature (raw: DER or 64 bytes) over the message?"""
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, message)
            else:
                self._key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def read_public_key(text: str | bytes) -> PublicKey:
    """A public key in PEM. Raises `SigningError` for anything but P-256 and Ed25519, private keys above all."""
    data = text.encode() if isinstance(text, str) else text
    if b"PRIVATE KEY" in data:
        raise SigningError("This is a private key. Keep it secret; the portal wants the public one.")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm, TypeError) as error:
        raise SigningError("Not a public key in PEM.") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        algorithm = ECDSA_P256
    elif isinstance(key, ed25519.Ed25519PublicKey):
        algorithm = ED25519
    else:
        raise SigningError("Only ECDSA P-256 and Ed25519 keys are taken.")
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(algorithm, hashlib.sha256(der).hexdigest(), pem.decode(), key)


def read_signature(data: bytes) -> bytes:
    """A signature as raw bytes: DER or 64 bytes as they are, Base64 of either, or a Sigstore bundle with one.

    Of a bundle only the signature is taken: what it says of keys and logs is not believed. Raises `SigningError`.
    """
    if data.lstrip()[:1] == b"{" and len(data) != _ED25519_BYTES:
        data = _of_bundle(data)
    if len(data) > _LONGEST:
        raise SigningError("A signature has at most 1,024 bytes.")
    # Base64 may begin with "0", which is the byte of a DER sequence; it never has the byte of an integer in it.
    if len(data) == _ED25519_BYTES or (data[:1], data[2:3]) == (_DER_SEQUENCE, _DER_INTEGER):
        return data
    try:
        raw = base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SigningError("Not a signature: neither DER, nor 64 bytes, nor Base64 of either.") from error
    if not raw:
        raise SigningError("The signature is empty.")
    return raw


def _of_bundle(data: bytes) -> bytes:
    """The signature in a Sigstore bundle, or in the JSON that older cosigns write (Base64)."""
    if len(data) > LONGEST_BUNDLE:
        raise SigningError("A Sigstore bundle has at most 64 KiB.")
    try:
        bundle = json.loads(data)
        text = bundle["messageSignature"]["signature"] if "messageSignature" in bundle else bundle["base64Signature"]
        return str(text).encode("ascii")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SigningError("A Sigstore bundle without a signature over a file.") from error


def manifest(sha256: str, file_name: str) -> bytes:
    """What is signed for an artifact: the line of `sha256sum`."""
    return f"{sha256}  {file_name}\n".encode()


def permit_statement(device_id: str, update_id: str, from_version: str, to_version: str, sha256: str) -> bytes:
    """What the portal signs to let one device go back, once, from one version to one image of another."""
    said = (device_id, update_id, from_version, to_version, sha256)
    # A version is a device's own word and could hold anything: no line of it may pass for another field.
    lines = [each.replace("\\", "\\\\").replace("\n", "\\n") for each in said]
    return "".join(f"{line}\n" for line in ("fleetportal rollback permit", *lines)).encode()
