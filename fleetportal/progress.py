"""What an MQTT session gets done: how much waits in it, since when, and how fast it is stored."""

import time
from collections import deque
from collections.abc import Callable

from django.db import DataError, Error, IntegrityError

from devices.registry import Incoming
from telemetry.pressure import Line

_SPEED_SECONDS = 10.0
"""Over which the speed is measured."""


class Progress:
    """Stands between a session and the room that takes its batches; `line` is asked every second, by one thread."""

    def __init__(self, take: Callable[[list[Incoming]], None], clock: Callable[[], float] = time.time) -> None:
        self._take = take
        self._clock = clock
        self._stored = 0
        self._stored_at = clock()
        self._away_since = 0.0
        self._received: deque[tuple[float, int]] = deque()
        """When how many messages had been received, as far back as one of them is not stored."""
        self._speeds: deque[tuple[float, int]] = deque([(clock(), 0)])

    def take(self, messages: list[Incoming]) -> None:
        """Hand a batch to the room. Raises what the room raises."""
        try:
            self._take(messages)
        except (DataError, IntegrityError):
            raise
        except Error:
            self._away_since = self._away_since or self._clock()
            raise
        self._away_since, self._stored_at = 0.0, self._clock()
        self._stored += len(messages)

    def line(self, received: int, unacked: int, most: int) -> Line:
        """What to tell. `received`: so far; `unacked`: of those, not yet stored; `most`: that may be in flight."""
        now = self._clock()
        if not self._received or received > self._received[-1][1]:
            self._received.append((now, received))
        while self._received and self._received[0][1] <= received - unacked:
            self._received.popleft()
        if not unacked:
            self._stored_at = now
        self._speeds.append((now, self._stored))
        while now - self._speeds[1][0] > _SPEED_SECONDS:
            self._speeds.popleft()
        seconds, stored = now - self._speeds[0][0], self._stored - self._speeds[0][1]
        return Line(
            at=now,
            unacked=unacked,
            oldest=self._received[0][0] if unacked and self._received else now,
            stored_at=self._stored_at,
            full=unacked >= most,
            per_second=stored / seconds if seconds > 0 else 0.0,
            away=now - self._away_since if self._away_since else 0.0,
        )
