"""The power supply of what is on a disk: it fails at a chosen durable step."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class PowerCut(Exception):
    """No step of the life before gets any further."""


class Power:
    """Lets so many durable steps of the files below a directory happen, then none until it is back.

    The last one happens (`after`) or does not; a file that was not synced loses half of what was written.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory, self._left, self._after, self.taken, self.out = str(directory), -1, False, 0, False
        self._lock = threading.Lock()
        for name in ("fsync", "rename", "unlink"):
            monkeypatch.setattr(os, name, self._guard(name, getattr(os, name)))

    def cut(self, step: int, *, after: bool) -> None:
        """Plan a cut at a step, from 0."""
        self._left, self._after = step, after

    def back(self) -> None:
        """The lights are on again."""
        self._left, self.out = -1, False

    def _guard(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(target: Any, *others: Any, **options: Any) -> Any:
            path = str(Path(f"/proc/self/fd/{target}").readlink() if name == "fsync" else target)
            if not path.startswith(self._directory):
                return real(target, *others, **options)
            with self._lock:
                if self.out:
                    raise PowerCut
                self.taken += 1
                if self._left != 0:
                    self._left -= 1
                    return real(target, *others, **options)
                self.out = True
                if self._after:
                    real(target, *others, **options)
                elif name == "fsync" and os.path.isfile(path):  # noqa: PTH113
                    os.truncate(path, os.path.getsize(path) // 2)  # noqa: PTH202
                raise PowerCut

        return step
