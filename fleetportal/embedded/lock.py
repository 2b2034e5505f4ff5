"""One run at a time for each `var` folder."""

import fcntl
import os
from pathlib import Path


class AlreadyRunning(Exception):
    """Another run holds the lock."""


def acquire(path: Path) -> int:
    """Take the lock and keep it until this process ends. Raises AlreadyRunning. The descriptor is never inherited."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise AlreadyRunning from error
    return descriptor
