"""CA keys in encrypted files. Pure but for the files themselves: the offline ceremony uses it without the portal."""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from devices import pki
from devices.errors import CertificateError


class FileKeys:
    """PKCS#8 files, encrypted with the passphrase (PBES2: PBKDF2 with 2,048 rounds, AES-256-CBC).

    Opening one takes 0.4 ms, so nothing decrypted is kept. The few rounds are no protection for a short passphrase:
    the portal's is random, and the ceremony demands a long one.
    """

    def __init__(self, directory: Path, passphrase: str) -> None:
        self.directory, self._passphrase = directory, passphrase.encode()

    def make(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Make a P-256 key and keep it. Raises FileExistsError rather than ever overwrite one."""
        key = pki.new_key()
        self.save(name, key)
        return key

    def save(self, name: str, key: ec.EllipticCurvePrivateKey) -> None:
        """Keep a new key. Raises FileExistsError rather than ever overwrite one."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._passphrase),
        )
        temporary = self.directory / f".{secrets.token_hex(8)}.new"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            # Whole or not at all: a half-written key under its name could be neither opened nor made again.
            self._path(name).hardlink_to(temporary)
        finally:
            temporary.unlink()
        folder = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(folder)  # a certificate must not outlive its key
        finally:
            os.close(folder)

    def load(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Fetch a key. Raises `CertificateError` (ca_key_unavailable) without saying more than which one."""
        try:
            key = serialization.load_pem_private_key(self._path(name).read_bytes(), self._passphrase)
        except (OSError, ValueError, TypeError) as error:
            raise CertificateError(f"The CA key {name!r} cannot be opened.", "ca_key_unavailable", 503) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError(f"The CA key {name!r} is not an elliptic curve key.", "ca_key_unavailable", 503)
        return key

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.key"
