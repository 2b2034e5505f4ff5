"""Noticing that files were replaced, to tell a server that read them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

State: TypeAlias = tuple[tuple[int, int, int] | None, ...]


class FileWatch:
    """Calls `act` once after any of the `paths` was replaced, when all are there and none has changed since last look.

    The rest matters: a certificate and its key are two files, and must not be read between the two renames.
    """

    def __init__(self, paths: Sequence[Path], act: Callable[[], None]) -> None:
        self._paths = paths
        self._act = act
        self._acted_on = self._last = self._look()

    def __call__(self) -> None:
        """Look once; call this every few hundred milliseconds."""
        now = self._look()
        if now == self._last and now != self._acted_on and None not in now:
            self._acted_on = now
            self._act()
        self._last = now

    def _look(self) -> State:
        return tuple(_identity(path) for path in self._paths)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status.st_size else None
