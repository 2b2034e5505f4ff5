"""Who signs firmware in tests: keys of both kinds, and signatures as openssl and cosign make them."""

import base64
import subprocess
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from django.utils import timezone

from firmware import signing, trust

NOW = timezone.now()
DAY = timedelta(days=1)


def pem(key) -> str:
    """Its public half."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def trusted(key, name="build server", types=(), since=NOW - 30 * DAY, until=NOW + 300 * DAY):
    """Its row."""
    return trust.add_key(
        name=name, public_key=pem(key), device_types=types, not_before=since, not_after=until, user=None
    )


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def new_ed25519():
    return ed25519.Ed25519PrivateKey.generate()


def raw(key, sha256, file_name) -> bytes:
    """A detached signature over the manifest."""
    message = signing.manifest(sha256, file_name)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def cosign(key, sha256, file_name) -> bytes:
    """The same as `cosign sign-blob` prints it."""
    return base64.b64encode(raw(key, sha256, file_name)) + b"\n"


def openssl(key, folder: Path, sha256, file_name) -> bytes:
    """The same by openssl itself."""
    private, line = folder / "signing.pem", folder / "manifest"
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    line.write_bytes(f"{sha256}  {file_name}\n".encode())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", line]
    else:
        command = ["openssl", "dgst", "-sha256", "-sign", private, line]
    return subprocess.run(command, check=True, capture_output=True).stdout
