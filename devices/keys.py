"""Where CA keys lie: always encrypted, never in the database, a log or the admin."""

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings

from devices.errors import CertificateError


class FileKeys:
    """PKCS#8 files, encrypted with the passphrase (PBES2, AES-256-CBC)."""

    def __init__(self, directory: Path, passphrase: str) -> None:
        self.directory, self._passphrase = directory, passphrase.encode()

    def save(self, name: str, key: ec.EllipticCurvePrivateKey) -> None:
        """Keep a new key. Raises FileExistsError rather than ever overwrite one."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._passphrase),
        )
        handle = os.open(self.directory / f"{name}.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def load(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Fetch a key. Raises `CertificateError` (ca_key_unavailable) without saying more than which one."""
        try:
            text = (self.directory / f"{name}.key").read_bytes()
            key = serialization.load_pem_private_key(text, self._passphrase)
        except (OSError, ValueError, TypeError) as error:
            raise CertificateError(f"The CA key {name!r} cannot be opened.", "ca_key_unavailable", 503) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError(f"The CA key {name!r} is not an elliptic curve key.", "ca_key_unavailable", 503)
        return key


def backend() -> FileKeys:
    """The key backend of the settings."""
    return FileKeys(settings.CA_DIRECTORY, settings.CA_KEY_PASSPHRASE)
