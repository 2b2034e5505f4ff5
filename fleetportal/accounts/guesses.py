"""Counting guesses: of passwords and of codes. Counted before they are judged, so that many at once do not get through.

A Valkey that is away must not lock everybody out: nothing is counted then.
"""

import hashlib

import structlog
from django.conf import settings
from django.core.cache import cache
from redis import RedisError

log = structlog.get_logger(__name__)
WINDOW_SECONDS = 300
ADDRESS_FACTOR = 10
"""An address may fail so many times more often than one name from it: offices share one."""


def key_of(text: str) -> str:
    """Hashed, as names and addresses are personal."""
    return "sign-in:" + hashlib.sha256(text.encode(errors="replace")).hexdigest()


def too_many(key: str, factor: int = 1) -> bool:
    """Count one; is it more than SIGN_IN_ATTEMPTS (times the factor) in five minutes?"""
    try:
        cache.add(key, 0, WINDOW_SECONDS)
        return int(cache.incr(key)) > settings.SIGN_IN_ATTEMPTS * factor
    except (RedisError, ValueError):
        log.warning("sign_in_not_counted")
        return False


def forget(key: str) -> None:
    """Who knows the secret did not guess."""
    try:
        cache.delete(key)
    except RedisError:
        log.warning("sign_in_not_forgotten")


def is_first_use(key: str, seconds: int) -> bool:
    """Is this the first time within so many seconds? Yes, too, while nobody can remember."""
    try:
        return bool(cache.add(key, 1, seconds))
    except RedisError:
        log.warning("sign_in_not_counted")
        return True
