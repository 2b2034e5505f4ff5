"""The portal's own key: it signs which device may go back to which older version.

Devices are built to trust it, so it is made once and never silently again: a machine that lost it, or never had it,
says so instead of making another that no device believes.
"""

import base64
from collections.abc import Iterable

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection, transaction

from devices import evidence, keys
from devices.errors import CertificateError
from devices.models import Event
from firmware import signing
from firmware.errors import FirmwareError
from firmware.models import Update

NAME = "permit"
"""Of the key, where CA keys are made."""
MADE = "permit_key.made"
_LOCK = 0xCACB  # advisory lock: two processes that start at once make one key


def sign(update: Update) -> None:
    """Fill `permit` and `permit_key` of an update that leads back (not saved).

    It must say what it leads from (`from_version`) and to (`release`). Raises `CertificateError` (ca_key_unavailable),
    `FirmwareError` (no_release).
    """
    sign_all([update])


def sign_all(updates: Iterable[Update]) -> None:
    """The same for many, opening the key once."""
    rows = list(updates)
    if not rows:
        return
    key = _key()
    fingerprint = signing.read_public_key(_pem(key)).fingerprint
    for update in rows:
        if update.release is None or not update.from_version:
            raise FirmwareError("There is no version to go back from, or none to go back to.", "no_release")
        statement = signing.permit_statement(
            update.device.device_id,
            str(update.update_id),
            update.from_version,
            update.release.version,
            update.release.artifact.sha256,
        )
        update.permit = base64.b64encode(key.sign(statement, ec.ECDSA(hashes.SHA256()))).decode()
        update.permit_key = fingerprint


def public_key(*, make: bool = True) -> str:
    """PEM of the key that devices check permits with; makes the key where there is none yet, if it may.

    Raises `CertificateError` (ca_key_unavailable).
    """
    return _pem(_key() if make else keys.backend().load(NAME))


def make(reason: str, user: object = None) -> str:
    """Make the key, even after one was lost; its PEM. Only devices that are told of it will believe it.

    Raises `CertificateError` (ca_key_unavailable) where it cannot be made, FileExistsError where it is.
    """
    with transaction.atomic():
        _one_at_a_time()
        return _pem(_make(reason, user))


def _key() -> ec.EllipticCurvePrivateKey:
    try:
        return keys.backend().load(NAME)
    except CertificateError:
        with transaction.atomic():
            _one_at_a_time()
            if Event.objects.filter(kind=MADE).exists():
                return keys.backend().load(NAME)  # made meanwhile, or lost: then this says so
            try:
                return _make("The first one", None)
            except FileExistsError:
                return keys.backend().load(NAME)


def _make(reason: str, user: object) -> ec.EllipticCurvePrivateKey:
    try:
        key = keys.backend().make(NAME)
    except FileExistsError:
        raise
    except OSError as error:
        raise CertificateError("The permit key cannot be made on this machine.", "ca_key_unavailable", 503) from error
    detail = {"fingerprint": signing.read_public_key(_pem(key)).fingerprint}
    evidence.record(MADE, user=user, reason=reason, detail=detail)
    return key


def _one_at_a_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()
