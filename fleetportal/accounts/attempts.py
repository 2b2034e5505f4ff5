"""Wrong credentials of programs, counted by address: who tries many is told to wait."""

import hashlib
from typing import Any, Final

import structlog
from django.core.cache import cache
from redis import RedisError
from rest_framework.throttling import BaseThrottle

log = structlog.get_logger(__name__)
MOST: Final = 30
"""Wrong ones of an address in `WINDOW_SECONDS`. Offices share an address, so what was good once does not count."""
WINDOW_SECONDS: Final = 60


def wait(request: Any, what: str) -> int:
    """Seconds until this address may try again; 0: now. While the cache is away, now."""
    try:
        return WINDOW_SECONDS if (cache.get(_key(request, what)) or 0) >= MOST else 0
    except RedisError:
        return 0


def failed(request: Any, what: str) -> None:
    """Count one."""
    try:
        key = _key(request, what)
        cache.add(key, 0, WINDOW_SECONDS)
        cache.incr(key)
    except (RedisError, ValueError):
        log.warning("attempt_not_counted")


def _key(request: Any, what: str) -> str:
    """Hashed, as addresses are personal. Which one it is behind a proxy, NUM_PROXIES says, as for all throttles."""
    address = BaseThrottle().get_ident(request)
    return f"attempts:{what}:" + hashlib.sha256(str(address).encode(errors="replace")).hexdigest()
