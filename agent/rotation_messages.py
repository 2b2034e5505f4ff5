"""What happens to a renewal, and what it wants done: the words between `rotation.step`, `link.py` and `renewal.py`."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from agent.term import Term
from devices.contract import IssuedCertificate

# --- what happens ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InUse:
    """The device is online with this certificate."""

    term: Term


@dataclass(frozen=True, slots=True)
class Due:
    """The clock reached `due` while online."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The portal asks to replace the certificate with this serial number."""

    serial: str


@dataclass(frozen=True, slots=True)
class Requested:
    """A key and its request are durable."""

    csr: str
    online: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The portal's answer over HTTPS to this request was this status, and no certificate."""

    csr: str
    status: int


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate came."""

    issued: IssuedCertificate


@dataclass(frozen=True, slots=True)
class Kept:
    """The certificate that came is durable, with its key: there is nothing left to ask for."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker took the connection and acknowledged the birth: the certificate in use is good."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A step did not work out."""

    text: str
    level: int = logging.INFO


Message = InUse | Due | Asked | Requested | Refused | Issued | Kept | Accepted | Failed


# --- what is wanted -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MakeRequest:
    """Make a key and a request, durably, or take the open ones; then `Requested` or `Failed`."""

    given_up: str = ""
    """Not this one: the new ones take its place."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Publish the request now."""

    csr: str


@dataclass(frozen=True, slots=True)
class KeepCertificate:
    """Keep it durably if it is for the key of the open request; then `Kept` or `Failed`."""

    issued: IssuedCertificate


@dataclass(frozen=True, slots=True)
class SwapCredentials:
    """Hang up, and connect with the newest certificate at once."""


@dataclass(frozen=True, slots=True)
class Promote:
    """The certificate in use becomes the current one, durably; the one before stays as the previous one."""


@dataclass(frozen=True, slots=True)
class Log:
    """Tell whoever operates the device."""

    level: int
    text: str


Effect = MakeRequest | SendRequest | KeepCertificate | SwapCredentials | Promote | Log
