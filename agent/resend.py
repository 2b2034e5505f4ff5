"""When to repeat what the portal has not settled: one timer a device, however long its backlog is."""

from __future__ import annotations

from math import inf
from random import Random

from agent.backoff import Backoff

FIRST = b""
"""Sorts before every message id: nothing."""


class Resend:
    """Where a connection stands in the outbox. Ids are the 16 bytes of a msg_id, times are monotonic seconds.

    Everything after `cursor` has not been sent on this connection. Everything up to `mark` that is still in the outbox
    when the clock reaches `due` is sent once more, then with doubling waits.
    """

    def __init__(self, rng: Random, backoff: Backoff) -> None:
        self._rng, self._backoff = rng, backoff
        self.reset()

    def reset(self) -> None:
        """A new connection: everything in the outbox is due again."""
        self.cursor, self.mark, self.due, self._attempt = FIRST, FIRST, inf, 0

    def sent(self, last: bytes, now: float) -> None:
        """New messages up to `last` went out."""
        self.cursor = last
        if self.due == inf:
            self._start(now, attempt=0)

    def repeated(self, now: float, *, unsettled: bool) -> None:
        """The timer rang and what was unsettled up to `mark`, if anything, went out again."""
        if unsettled:
            self._start(now, self._attempt + 1)
        elif self.cursor > self.mark:
            self._start(now, attempt=0)
        else:
            self.due = inf

    def _start(self, now: float, attempt: int) -> None:
        self.mark, self._attempt = self.cursor, attempt
        self.due = now + self._backoff.half_jitter(attempt, self._rng)
