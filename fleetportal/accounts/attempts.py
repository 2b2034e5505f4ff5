"""Wrong credentials of programs, counted by address and by whose they are: who tries many is told to wait."""

import hashlib
from typing import Any, Final

import structlog
from django.core.cache import cache
from redis import RedisError

from devices.throttles import address_of

log = structlog.get_logger(__name__)
MOST: Final = 30
"""Wrong ones of an address in `WINDOW_SECONDS`. Offices share an address, so what was good once does not count."""
MOST_OF_ALL: Final = 300
"""The same where credentials have a name, whatever names: one misconfigured app must not shut out its neighbours."""
WINDOW_SECONDS: Final = 60


def wait(request: Any, what: str, name: str = "") -> int:
    """Seconds until this address may try again, for this name where there is one; 0: now. While the cache is away, now.

    `what` is the kind of credentials, `name` whose they are said to be.
    """
    limits = _limits(request, what, name)
    try:
        tried = cache.get_many(limits)
    except RedisError:
        return 0
    return WINDOW_SECONDS if any(tried.get(key, 0) >= most for key, most in limits.items()) else 0


def failed(request: Any, what: str, name: str = "") -> None:
    """Count one."""
    try:
        for key in _limits(request, what, name):
            cache.add(key, 0, WINDOW_SECONDS)
            cache.incr(key)
    except (RedisError, ValueError):
        log.warning("attempt_not_counted")


def _limits(request: Any, what: str, name: str) -> dict[str, int]:
    """Keys of the cache and how many are allowed. Hashed, as addresses are personal.

    Which address it is behind a proxy, NUM_PROXIES says, as for all throttles.
    """
    address = address_of(request)
    if not name:
        return {_key(what, address): MOST}
    return {_key(what, address, name): MOST, _key(what, address): MOST_OF_ALL}


def _key(what: str, *told: str) -> str:
    return f"attempts:{what}:" + hashlib.sha256("\0".join(told).encode(errors="replace")).hexdigest()
