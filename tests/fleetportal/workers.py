"""Other workers of the portal, each in a thread with a database connection of its own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from django.db import connection


class Worker:
    """Runs what it is told in its own thread, so on its own connection."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)

    def __call__(self, function, *args):
        """Run it there, and wait."""
        return self.begin(function, *args).result(timeout=30)

    def begin(self, function, *args):
        """Run it there meanwhile."""
        return self._thread.submit(function, *args)

    def pid(self) -> int:
        """The server process behind its connection."""
        return self(_backend_pid)

    def kill(self) -> None:
        """What the database sees when the worker's process is killed."""
        kill(self.pid())

    def end(self) -> None:
        self(_close)
        self._thread.shutdown()


def _close() -> None:
    connection.close()  # the proxy must be asked in the thread whose connection it is


def _backend_pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def kill(pid: int) -> None:
    """End a server process, and wait until it and its locks are gone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        assert cursor.fetchone()[0]


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """So many workers, gone at the end."""
    with ExitStack() as stack:
        made = [Worker() for _ in range(count)]
        for each in made:
            stack.callback(each.end)
        yield made
