"""From what is measured to how bad it is: the thresholds of the audits. Pure; None means all is well."""

from datetime import datetime, timedelta
from itertools import pairwise

from devices import rotation
from devices.auditing import CRITICAL, INFO, WARNING

OVERDUE = rotation.URGENT / 2
"""A certificate not renewed after this part of its window is late: by then it was asked for several times."""
CRL_LEFT, CRL_LEFT_LEAST = timedelta(days=2), timedelta(days=1)
"""A list lives for a week and is rewritten hourly; with less left than this nobody has rewritten it for days."""
SERVER_LEFT, SERVER_LEFT_LEAST = timedelta(days=21), timedelta(days=7)
"""The broker's certificate is renewed when 30 days are left."""
CA_LEFT = timedelta(days=90)
ROOT_LEFT = timedelta(days=5 * 365)
"""An issuing CA made now would be cut short by the root (authorities.ISSUING_LIFETIME)."""
REFUSED_LEAST, REFUSED_SHARE = 10, 0.2
MANY_REFUSED, MANY_REFUSED_SHARE = 100, 0.5
BIRTHS, BIRTHS_WITHIN = 10, timedelta(minutes=10)
CLAIM_OLD = timedelta(days=90)
CLAIM_UNUSED = timedelta(days=30)
CLAIM_USED_UP = timedelta(days=7)
NEVER_SEEN, LONG_NEVER_SEEN = timedelta(days=1), timedelta(days=30)
TOKEN_UNUSED = timedelta(days=7)
TOKEN_LEFT = timedelta(days=14)
RSA_REFUSED, RSA_SHORT = 2048, 3072
"""Bits. 2048 is what pki.py admits; NIST SP 800-57 gives such keys until 2030, so they are told of and no more."""
GOOD_KEYS = ("P-256", "P-384", "Ed25519")


def certificate(renew_at: datetime, not_after: datetime, now: datetime) -> str | None:
    """A certificate without a successor that is not over yet."""
    if rotation.is_urgent(renew_at, not_after, now):
        return CRITICAL
    return WARNING if now >= renew_at + (not_after - renew_at) * OVERDUE else None


def authority(kind: str, left: timedelta, lifetime: timedelta) -> str | None:
    """An authority with so much time left, where device certificates live for `lifetime`.

    An issuing CA with less than a lifetime left cuts short what it signs; a root must outlive a whole new issuing CA.
    """
    warn, least = {
        "root": (max(ROOT_LEFT, 3 * lifetime), 2 * lifetime),
        "issuing": (max(2 * lifetime, CA_LEFT), lifetime),
    }.get(kind, (CA_LEFT, timedelta(0)))
    return _low(left, warn, least)


def crl(left: timedelta) -> str | None:
    """The revocation list that ends first."""
    return _low(left, CRL_LEFT, CRL_LEFT_LEAST)


def server(left: timedelta) -> str | None:
    """The broker's own certificate."""
    return _low(left, SERVER_LEFT, SERVER_LEFT_LEAST)


def _low(left: timedelta, warn: timedelta, least: timedelta) -> str | None:
    if left < max(least, timedelta(0)) or left <= timedelta(0):
        return CRITICAL
    return WARNING if left < warn else None


def key(algorithm: str, bits: int) -> str | None:
    """A certificate's public key."""
    if algorithm in GOOD_KEYS or (algorithm == "RSA" and bits >= RSA_SHORT):
        return None
    return INFO if algorithm == "RSA" and bits >= RSA_REFUSED else CRITICAL


def refusals(refused: int, accepted: int) -> str | None:
    """Connections of the last minutes."""
    share = refused / max(refused + accepted, 1)
    if refused < REFUSED_LEAST or share <= REFUSED_SHARE:
        return None
    return CRITICAL if refused >= MANY_REFUSED and share > MANY_REFUSED_SHARE else WARNING


def births(boots: list[str]) -> str | None:
    """The boot ids of a device's births within `BIRTHS_WITHIN`, in order.

    A boot id that comes back after another one was there is a second machine with the same identity: a machine that
    restarts never has an old one again.
    """
    if len(boots) < BIRTHS:
        return None
    changes = sum(one != other for one, other in pairwise(boots))
    return CRITICAL if changes + 1 > len(set(boots)) else WARNING


def claim(age: timedelta, uses: int, max_devices: int, *, secret: bool) -> tuple[str, str] | None:
    """A claim that still admits devices, as (kind of finding, severity). A maker's has no secret that could leak."""
    if secret and age >= CLAIM_OLD:
        return "claim_old", WARNING
    if uses == 0 and age >= CLAIM_UNUSED:
        return "claim_unused", INFO
    if uses >= max_devices and age >= CLAIM_USED_UP:
        return "claim_used_up", INFO
    return None


def never_seen(age: timedelta) -> str | None:
    """A device that enrolled so long ago and never spoke: at first it lies in a store, later it is lost."""
    if age < NEVER_SEEN:
        return None
    return WARNING if age >= LONG_NEVER_SEEN else INFO
