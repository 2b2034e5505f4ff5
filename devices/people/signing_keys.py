"""Keys that sign the tokens of apps and devices: made, announced before they sign, replaced; and what they signed.

RS256, which every OpenID client knows. Private keys are rows, encrypted with CA_KEY_PASSPHRASE, and are decrypted for
the moment of signing; what is kept in memory is public. A row that cannot be opened is as good as none: it signs and
verifies nothing.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.views.decorators.debug import sensitive_variables

from devices import evidence
from devices.models import SigningKey

log = structlog.get_logger(__name__)

EVERY: Final = timedelta(days=90)
"""How long a key signs."""
ANNOUNCED: Final = timedelta(days=1)
"""How long a key is told in JWKS before it signs: who verifies may keep JWKS for so long."""
KEPT: Final = timedelta(days=7)
"""How long a key verifies after its time: while beat is away it goes on signing, and is replaced when that ends."""
ALGORITHM: Final = "RS256"
_BITS = 2048
_LAPTOP = ("localhost", "127.0.0.1", "::1")
_LOCK = 0x51C4  # advisory lock: keys are made by one process at a time
_ENCODING = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


@dataclass(frozen=True, slots=True)
class Public:
    """What everybody may know of a key."""

    kid: str
    """Its thumbprint (RFC 7638)."""
    key: rsa.RSAPublicKey
    jwk: dict[str, str]


class Refused(Exception):
    """A JWT that is not ours, or no longer good; `expired` where only its time is over."""

    def __init__(self, detail: str, *, expired: bool = False) -> None:
        super().__init__(detail)
        self.expired = expired


def issuer() -> str:
    """Who issues our tokens: a setting, as a Host header could be anybody's.

    Raises `ImproperlyConfigured` where the portal was not told its own address. Only on a laptop it is without TLS.
    """
    url: str = settings.PORTAL_URL.rstrip("/")
    told = urlsplit(url)
    if not told.hostname or (told.scheme != "https" and (told.scheme, told.hostname in _LAPTOP) != ("http", True)):
        raise ImproperlyConfigured(f"PORTAL_URL={url}: tell the portal its own address, such as https://fleet.example")
    return url


def sign(claims: dict[str, Any], kind: str, now: datetime) -> str:
    """A JWT of these claims, signed by the key whose time it is. `kind` is its `typ`."""
    private, kid = _current(now)
    return jwt.encode(claims, private, algorithm=ALGORITHM, headers={"kid": kid, "typ": kind})


def read(token: str, kind: str, now: datetime, *, audience: str) -> dict[str, Any]:
    """The claims of a JWT of ours, of that kind and for that audience, in its time. Raises `Refused`."""
    try:
        head = jwt.get_unverified_header(token)
        found = next((each for each in public(now) if each.kid == head.get("kid")), None)
        if found is None or head.get("typ") != kind:
            raise Refused("This token is not known.")
        # The clock is the caller's, as everywhere in this house: the library's own is left out.
        told: dict[str, Any] = jwt.decode(
            token,
            found.key,
            algorithms=[ALGORITHM],
            audience=audience,
            issuer=issuer(),
            options={"require": ["exp", "iat", "iss", "aud", "sub"], "verify_exp": False, "verify_iat": False},
        )
        if not isinstance(told["exp"], int):
            raise Refused("This token is not known.")
        if told["exp"] <= now.timestamp():
            raise Refused("This token has expired.", expired=True)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise Refused("This token is not known.") from error
    return told


def public(now: datetime) -> list[Public]:
    """The keys that JWKS tells: the one that signs, those that did, and the one to come. The first is made here."""
    found = _opened(now)
    if not any(row.not_before <= now for row, _ in found):
        make_first(now)
        found = _opened(now)
    return [key for _, key in found]


@transaction.atomic
def make_first(now: datetime) -> None:
    """A key that signs at once, unless there is one."""
    _lock()
    if not any(row.not_before <= now for row, _ in _opened(now)):
        _make(now)


@transaction.atomic
def prepare(now: datetime) -> bool:
    """Make the next key when it is time to announce it, and drop those that verify nothing any more. Made one?"""
    _lock()
    SigningKey.objects.filter(expires_at__lte=now).delete()
    found = _opened(now)
    newest = found[0][0].not_before if found else None
    if newest is not None and newest + EVERY - ANNOUNCED > now:
        return False
    _make(now if newest is None else max(newest + EVERY, now + ANNOUNCED))
    return True


@transaction.atomic
def replace_all(now: datetime, reason: str) -> int:
    """A key got lost: nothing that any key signed is believed from now on, and a new one signs. How many went?"""
    _lock()
    gone, _ = SigningKey.objects.all().delete()
    _make(now)
    evidence.record("signingkey.replaced", reason=reason, detail={"keys": gone})
    return gone


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _make(not_before: datetime) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    encryption = serialization.BestAvailableEncryption(settings.CA_KEY_PASSPHRASE.encode())
    pem = key.private_bytes(*_ENCODING, encryption).decode()
    row = SigningKey.objects.create(pem=pem, not_before=not_before, expires_at=not_before + EVERY + KEPT)
    evidence.record("signingkey.made", detail={"id": row.pk, "not_before": not_before.isoformat()})


def _opened(now: datetime) -> list[tuple[SigningKey, Public]]:
    """Rows that are not over and can be opened, the newest first."""
    rows = SigningKey.objects.filter(expires_at__gt=now).order_by("-not_before", "-pk")
    found = ((row, _public(row.pem, settings.CA_KEY_PASSPHRASE)) for row in rows)
    return [(row, key) for row, key in found if key is not None]


def _current(now: datetime) -> tuple[rsa.RSAPrivateKey, str]:
    public(now)
    row, key = next((row, key) for row, key in _opened(now) if row.not_before <= now)
    private = _private(row.pem, settings.CA_KEY_PASSPHRASE)
    if private is None:
        raise ImproperlyConfigured("A signing key cannot be opened: is CA_KEY_PASSPHRASE the right one?")
    return private, key.kid


@sensitive_variables("passphrase")
def _private(pem: str, passphrase: str) -> rsa.RSAPrivateKey | None:
    try:
        key = serialization.load_pem_private_key(pem.encode(), passphrase.encode())
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, rsa.RSAPrivateKey) else None


@lru_cache(maxsize=32)
@sensitive_variables("passphrase", "private")
def _public(pem: str, passphrase: str) -> Public | None:
    private = _private(pem, passphrase)
    if private is None:
        log.error("signing_key_unavailable")
        return None
    key = private.public_key()
    numbers = key.public_numbers()
    parts = {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
    digest = hashlib.sha256(json.dumps(parts, separators=(",", ":"), sort_keys=True).encode()).digest()
    kid = _text(digest)
    return Public(kid, key, {**parts, "kid": kid, "use": "sig", "alg": ALGORITHM})


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
