"""How long to wait before trying again."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling waits between `first` and `cap` seconds."""

    first: float
    cap: float

    def ceiling(self, attempt: int) -> float:
        """The longest wait in seconds after `attempt` failures in a row (from 0)."""
        return min(self.cap, self.first * 2.0 ** min(attempt, 32))

    def full_jitter(self, attempt: int, rng: Random) -> float:
        """Anywhere between 0 and the ceiling: a fleet that was cut off together does not come back together."""
        return rng.uniform(0, self.ceiling(attempt))

    def half_jitter(self, attempt: int, rng: Random) -> float:
        """Between half the ceiling and the ceiling: never at once, for asking a server again."""
        return rng.uniform(0.5, 1) * self.ceiling(attempt)
