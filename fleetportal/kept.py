"""What is the same for all people of a company and takes long where there are many devices: kept for a moment."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.core.cache import cache
from redis import RedisError

from devices.models import Tenant
from devices.tenancy import sees_all

SHAPE = 1
"""To be counted up with what is kept: an earlier version's answers are none of ours."""
MANY = 5_000
"""Devices from which on it is kept. In a small fleet people look for the one device they have just added."""


def for_a_moment(what: str, user: Any, seconds: int, make: Callable[[], tuple[dict[str, Any], int]]) -> dict[str, Any]:
    """What `make` returns beside how many devices there are; of others who see the same tenants, made a moment ago.

    `seconds` is how long it is good. While the cache is away it is made each time.
    """
    key = _key(what, user)
    try:
        found: dict[str, Any] | None = cache.get(key)
    except RedisError:
        found = None
    if found is not None:
        return found
    made, devices = make()
    # Who joined another team meanwhile has seen its devices, too: nobody else must get them by the earlier key.
    if devices >= MANY and _key(what, user) == key:
        with suppress(RedisError):
            cache.set(key, made, seconds)
    return made


def _key(what: str, user: Any) -> str:
    seen = Tenant.objects.visible_to(user).order_by("pk").values_list("pk", flat=True)
    whose = "all" if sees_all(user) else ",".join(map(str, seen))
    return f"{what}:{SHAPE}:{hashlib.sha256(whose.encode()).hexdigest()}"
