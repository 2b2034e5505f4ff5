"""Where CA keys lie: encrypted or in hardware, never in the database, a log or the admin."""

from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings

from devices.errors import CertificateError
from devices.key_files import FileKeys
from devices.models import Authority


class KeyBackend(Protocol):
    """A place for P-256 keys, each with a name of its own."""

    def make(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Make a key and keep it. Raises FileExistsError rather than ever overwrite one."""
        ...

    def load(self, name: str) -> ec.EllipticCurvePrivateKey:
        """A key to sign with. Raises `CertificateError` (ca_key_unavailable)."""
        ...


def backend(kind: str = "") -> KeyBackend:
    """The key backend of this kind (`Authority.Backend`); without one that of CA_KEY_BACKEND, where new keys are made.

    Raises `CertificateError` (ca_key_unavailable) for `none`, and for a token the settings do not describe.
    """
    kind = kind or settings.CA_KEY_BACKEND
    if kind == Authority.Backend.FILE:
        return FileKeys(settings.CA_DIRECTORY, settings.CA_KEY_PASSPHRASE)
    if kind == Authority.Backend.PKCS11:
        return _token()
    raise CertificateError("The CA key is not on this machine.", "ca_key_unavailable", 503)


def _token() -> KeyBackend:
    described = [settings.PKCS11_MODULE, settings.PKCS11_TOKEN, settings.PKCS11_PIN]
    if not all(described):
        raise CertificateError(
            "The CA key is in a PKCS#11 token: set PKCS11_MODULE, PKCS11_TOKEN and PKCS11_PIN.",
            "ca_key_unavailable",
            503,
        )
    try:
        from devices import key_tokens  # noqa: PLC0415 (needs the extra pkcs11)
    except ImportError as error:
        raise CertificateError(
            "The CA key is in a PKCS#11 token: install fleetportal[pkcs11].", "ca_key_unavailable", 503
        ) from error
    return key_tokens.token_keys(*described)
