"""Certificate requests that no door may grant, and what the refusal says."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from devices import pki

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_MINE = pki.new_key()
RSA = rsa.generate_private_key(65537, 2048)
SHA256 = hashes.SHA256()
_TYPE = b"CERTIFICATE REQUEST"


def made(key, *extensions, subject="hw-1", algorithm=SHA256) -> bytes:
    """PEM."""
    name = pki.name(subject) if subject else x509.Name([])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def der(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def wrapped(content: bytes, name: bytes = _TYPE) -> bytes:
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (name, base64.encodebytes(content), name)


def changed(pem: bytes, old: bytes, new: bytes) -> bytes:
    content = der(pem)
    assert content.count(old) >= 1
    return wrapped(content.replace(old, new))


def spoilt() -> bytes:
    content = bytearray(der(made(pki.new_key())))
    content[-10] ^= 1
    return wrapped(bytes(content))


def signed_with_sha1() -> bytes:
    """No library of ours signs so any more: the algorithm's identifier is exchanged."""
    return changed(made(RSA), bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105"))


def anothers_signature() -> bytes:
    """The public key of another device, which whoever signed does not have."""
    mine, theirs = (key.public_key() for key in (_MINE, pki.new_key()))
    form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    return changed(made(_MINE), mine.public_bytes(*form), theirs.public_bytes(*form))


def a_certificate() -> bytes:
    key = pki.new_key()
    return pki.pem(pki.make_root("x", key, 10 * pki.CLOCK_SKEW, _NOW)).encode()


def pkcs7_instead() -> bytes:
    return pkcs7.serialize_certificates([x509.load_pem_x509_certificate(a_certificate())], serialization.Encoding.DER)


def padded(size: int) -> bytes:
    """With an extension of this size that nobody knows."""
    return made(pki.new_key(), x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"x" * size))


def usage(**changes) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**(dict.fromkeys(names, False) | changes))


NOT = "not a PKCS#10"
CORPUS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a bad signature": (spoilt, "own key"),
    "another's key": (anothers_signature, "own key"),
    "RSA 1024": (lambda: made(rsa.generate_private_key(65537, 1024)), "2048 to"),
    "RSA with e = 3": (lambda: made(rsa.generate_private_key(3, 2048)), "exponent"),
    "P-224": (lambda: made(ec.generate_private_key(ec.SECP224R1())), "P-256"),
    "secp256k1": (lambda: made(ec.generate_private_key(ec.SECP256K1())), "P-256"),
    "DSA": (lambda: made(dsa.generate_private_key(1024)), "must be P-256"),
    "Ed448": (lambda: made(ed448.Ed448PrivateKey.generate(), algorithm=None), "must be P-256"),
    "SHA-1": (signed_with_sha1, "weak hash"),
    "too long": (lambda: padded(pki.MAX_CSR_BYTES), "[Aa]t most|no more than"),
    "huge": (lambda: padded(10 * pki.MAX_CSR_BYTES), "[Aa]t most|no more than"),
    "truncated": (lambda: made(pki.new_key())[:200], NOT),
    "truncated inside": (lambda: wrapped(der(made(pki.new_key()))[:-20]), NOT),
    "CA:true": (lambda: made(pki.new_key(), x509.BasicConstraints(True, None)), "certificate authority"),
    "keyCertSign": (lambda: made(pki.new_key(), usage(key_cert_sign=True)), "certificate authority"),
    "cRLSign": (lambda: made(pki.new_key(), usage(crl_sign=True)), "certificate authority"),
    "NUL in the subject": (lambda: made(pki.new_key(), subject="hw-1\0.example"), "cannot be printed"),
    "a new line in the subject": (lambda: made(pki.new_key(), subject="hw-1\nhw-2"), "cannot be printed"),
    "a right-to-left mark in the subject": (lambda: made(pki.new_key(), subject="hw\u202e1"), "cannot be printed"),
    "the wrong PEM type": (lambda: wrapped(der(made(pki.new_key())), b"PRIVATE KEY"), NOT),
    "a certificate": (a_certificate, NOT),
    "PKCS#7": (lambda: wrapped(pkcs7_instead(), b"PKCS7"), NOT),
    "PKCS#7 in the right PEM type": (lambda: wrapped(pkcs7_instead()), NOT),
    "nothing": (lambda: b"", NOT),
    "a private key": (
        lambda: pki.new_key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        NOT,
    ),
    "text": (lambda: b"please", NOT),
    "bytes": (lambda: bytes(range(1, 128)) * 3, NOT),
}
