"""Room for large temporary files, on a disk and not in the memory that `/tmp` often is."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

_NEW_SECONDS = 60


@contextmanager
def folder(purpose: str) -> Iterator[Path]:
    """An empty folder of our own under WORK_DIRECTORY, gone at the end. Raises OSError.

    What killed runs of the same purpose left goes first: each run holds a lock on its folder for as long as it lives.
    """
    root = Path(settings.WORK_DIRECTORY)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in root.glob(f"{purpose}-*"):
        _remove_orphan(left)
    with tempfile.TemporaryDirectory(prefix=f"{purpose}-", dir=root) as name:
        held = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(held)


def _remove_orphan(left: Path) -> None:
    try:
        if time.time() - left.stat().st_mtime < _NEW_SECONDS:
            return  # perhaps made this moment, and not locked yet
        held = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return  # gone meanwhile
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(held)
