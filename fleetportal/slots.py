"""Which worker runs which MQTT session: slots held under PostgreSQL advisory locks.

A lock lives as long as its holder's database connection, so a killed worker's slots are free at once and are adopted
by the others within seconds; nobody has to notice a death. Members are counted the same way.
"""

import math
import secrets
import time
from collections.abc import Iterable

from django.conf import settings
from django.db import Error, connection

CONTROL = 0
"""The slot of the one control session; ingest slots are 1…MQTT_SLOTS."""
_MEMBER, _SLOT = 0x4D51, 0x4D52
_GRACE_SECONDS = 3
"""After the database was away, everyone first takes back what they held."""


def client_id(slot: int) -> str:
    """The fixed MQTT client id of a slot: whoever holds it resumes its session and queue."""
    return "portal-control" if slot == CONTROL else f"portal-ingest-{slot - 1}"


def fair_share(slots: int, members: int) -> int:
    """How many ingest slots one of so many workers may hold."""
    return math.ceil(slots / max(members, 1))


def surplus(held: Iterable[int], share: int) -> list[int]:
    """Ingest slots held beyond the fair share, the highest first; the control slot is not counted."""
    ingest = sorted(slot for slot in held if slot != CONTROL)
    return ingest[share:][::-1]


class Slots:
    """This worker's slots. Belongs to one thread: the locks are its database connection's."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self._wanted: set[int] = set()
        self._member = secrets.randbits(31)
        self._joined_at: float | None = None

    def refresh(self) -> set[int]:
        """Join, count members, take free slots up to the fair share. Returns the slots held now.

        Raises django.db.Error while the database is away; `held` is then empty, until it is known again.
        """
        try:
            if self._joined_at is None or not connection.is_usable():
                self._join()
            share = fair_share(settings.MQTT_SLOTS, self._members())
            settled = time.monotonic() - (self._joined_at or 0) > _GRACE_SECONDS or not self._wanted
            candidates = range(settings.MQTT_SLOTS + 1) if settled else sorted(self._wanted)
            for slot in candidates:
                room = slot == CONTROL or len(self.held - {CONTROL}) < share
                if slot not in self.held and room and self._try(slot):
                    self.held.add(slot)
            if settled:
                self._wanted = set(self.held)
            return set(self.held)
        except Error:
            self._lost()
            raise

    def over(self) -> list[int]:
        """Slots to give up so that others get their share."""
        return surplus(self.held, fair_share(settings.MQTT_SLOTS, self._members()))

    def take_extra(self, slot: int) -> bool:
        """Lock a slot beyond MQTT_SLOTS in order to end its session; False while an older worker still runs it."""
        return self._try(slot)

    def release(self, slot: int) -> None:
        """Give a slot up; somebody else takes it within a second."""
        self.held.discard(slot)
        self._wanted.discard(slot)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_SLOT, slot])

    def leave(self) -> None:
        """Release everything."""
        connection.close()
        self.held.clear()

    def _join(self) -> None:
        connection.close()
        self.held.clear()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", [_MEMBER, self._member])
        self._joined_at = time.monotonic()

    def _lost(self) -> None:
        self._wanted |= self.held
        self._joined_at = None
        connection.close()
        self.held.clear()

    def _try(self, slot: int) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_SLOT, slot])
            return bool(cursor.fetchone()[0])

    def _members(self) -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND granted AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())",
                [_MEMBER],
            )
            return int(cursor.fetchone()[0])
