"""Archive, restores and retention change days that nobody else writes to: one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

_LOCK = 0x9A60  # advisory lock of the session: it ends with the process, whatever ends that


@contextmanager
def alone() -> Iterator[bool]:
    """Whether we are the one. False: another process is at it, so leave it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        ours = bool(cursor.fetchone()[0])
    try:
        yield ours
    finally:
        if ours and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
