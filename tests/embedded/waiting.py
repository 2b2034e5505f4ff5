"""Tests wait for conditions, never for time to pass."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], timeout: float = 10.0, between: Callable[[], None] | None = None) -> None:
    """Return as soon as `condition` holds; fail after `timeout` (s). `between` is called before every look."""
    deadline = time.monotonic() + timeout
    while True:
        if between:
            between()
        if condition():
            return
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
