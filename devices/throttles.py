"""How often somebody may ask over HTTP: counted in Valkey, told in the head of each answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from redis import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle, ScopedRateThrottle

from devices.people.access import Credential

if TYPE_CHECKING:
    from rest_framework.views import APIView  # DRF reads this module, named in its settings, while it reads its views


def of_credential(request: Request) -> str:
    """Whose count it is: a token or app has its own, so that one program does not use up what its person has."""
    if not (request.user and request.user.is_authenticated):
        return ""
    if isinstance(request.auth, Credential):
        return f"{request.user.pk}.{request.auth.kind}.{request.auth.name}"
    return str(request.user.pk)


def address_of(request: Any) -> str:
    """Where it came from: behind a proxy, what that says (`NUM_PROXIES`), as its own address is everybody's."""
    return str(BaseThrottle().get_ident(request) or "")


class Throttle(ScopedRateThrottle):
    """So many requests of one credential, or of one address where nobody signed in, by the view's `throttle_scope`.

    While the cache is away it lets through: a broken cache must keep neither devices nor people out.
    """

    num_requests: int
    duration: int
    now: float

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Within the rate? What is left is kept for the head of the answer."""
        self.history: list[float] = []
        try:
            allowed = bool(super().allow_request(request, view))
        except RedisError:
            return True
        if getattr(self, "rate", None) and getattr(self, "now", None):
            tell(request, self.num_requests, self.num_requests - len(self.history), self._frees())
        return allowed

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        """One count each."""
        who = of_credential(request) or address_of(request)
        return self.cache_format % {"scope": self.scope, "ident": who}

    def _frees(self) -> int:
        """Seconds until the first of the counted requests is forgotten."""
        oldest = self.history[-1] if self.history else self.now
        return max(1, math.ceil(oldest + self.duration - self.now))


class Usual(Throttle):
    """What all views have that name no scope of their own: `api`."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Within the rate?"""
        return super().allow_request(request, _Scope(getattr(view, "throttle_scope", None) or "api"))  # type: ignore[arg-type]


class _Scope:
    """All that a throttle asks of a view."""

    def __init__(self, throttle_scope: str) -> None:
        self.throttle_scope = throttle_scope


def tell(request: Any, limit: int, remaining: int, reset: int) -> None:
    """Keep for the answer's head what is left; of several counts, the one that is used up first."""
    plain = getattr(request, "_request", request)
    before = getattr(plain, "rate_limit", None)
    if before is None or remaining < before[1]:
        plain.rate_limit = (limit, remaining, reset)
