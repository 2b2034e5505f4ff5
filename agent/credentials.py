"""A device's certificates on its disk, so that a power cut at any moment leaves it one that works.

`credentials.pem` is the current one, `next.pem` was issued and has still to be accepted by the broker, `previous.pem`
is the one before the current; each holds key, certificate and chain. `pending.pem` is the key and the request that wait
for a certificate. Every function blocks on the disk, is one durable step or a few of them, and may be repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent import identity
from agent.identity import Enrolment, Identity, IdentityError
from devices.contract import IssuedCertificate

logger = logging.getLogger(__name__)

NEXT, CURRENT, PREVIOUS, PENDING = "next.pem", identity.CREDENTIALS, "previous.pem", "pending.pem"


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that waits for its certificate."""

    key: ec.EllipticCurvePrivateKey
    csr: str
    """PKCS#10 PEM, the same however often it is sent."""


def load(directory: Path) -> tuple[Identity, ...]:
    """Every identity that can be used, newest first; none before enrolment.

    A damaged file is passed over. Raises IdentityError if there is nothing but damage.
    """
    present = [directory / name for name in (NEXT, CURRENT, PREVIOUS) if (directory / name).exists()]
    if not present:
        return ()
    enrolment, found = identity.enrolment(directory), dict[str, Identity]()
    for path in present:
        try:
            known = identity.read(path, enrolment)
        except IdentityError as error:
            trouble = error
            logger.warning("%s; using what else there is", error)
        else:
            found.setdefault(known.serial, known)
    if not found:
        raise trouble
    return tuple(found.values())


def pending(directory: Path, held: Sequence[Identity]) -> Pending | None:
    """The open request, if there is one: not damaged, and not answered by a certificate that is held."""
    try:
        content = (directory / PENDING).read_bytes()
        key, csr = identity.load_key(content), x509.load_pem_x509_csr(content)
    except (OSError, ValueError):
        return None
    if csr.public_key() != key.public_key() or any(key.public_key() == one.key.public_key() for one in held):
        return None
    return Pending(key, csr.public_bytes(serialization.Encoding.PEM).decode())


def request(directory: Path, device_id: str) -> Pending:
    """A new key and a request for it, kept in one file before anybody hears of them."""
    key = identity.new_key()
    csr = identity.csr(key, device_id)
    identity.write(directory / PENDING, f"{identity.key_pem(key)}{csr}".encode())
    return Pending(key, csr)


def keep(directory: Path, enrolment: Enrolment, request: Pending, issued: IssuedCertificate) -> Identity:
    """Keep the certificate that came for a request, to be tried. Raises IdentityError if it is not for that."""
    content = identity.bundle(request.key, issued.certificate, issued.chain, enrolment.device_id)
    identity.write(directory / NEXT, content)
    identity.remove(directory / PENDING)
    return identity.read(directory / NEXT, enrolment)


def promote(directory: Path, before: Identity | None) -> tuple[Identity, ...]:
    """The broker accepted the next one: it becomes the current, and `before` the previous. Answers as `load`."""
    if before is not None and before.credentials.name != PREVIOUS:
        identity.write(directory / PREVIOUS, before.credentials.read_bytes())
    identity.rename(directory / NEXT, directory / CURRENT)
    return load(directory)
