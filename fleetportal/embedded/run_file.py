"""`run.json`: where this run listens, who may sign in, and its process ids. The swarm and the tests find it by this."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetportal.embedded.private_files import write_private


class RunFile:
    """The file exists while a run does, and is complete whenever it exists."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content: dict[str, Any] = {}

    def publish(self, content: Mapping[str, Any]) -> None:
        """Write the file for the first time."""
        self._content = {**content, "supervisor_pid": os.getpid(), "pids": {}}
        self._write()

    def note_pids(self, pids: Mapping[str, int]) -> None:
        """Keep the process ids of the children up to date, once the file is published."""
        if self._content:
            self._content["pids"] = dict(pids)
            self._write()

    def remove(self) -> None:
        """Tell everybody that this run is over, or has not begun."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        write_private(self.path, json.dumps(self._content, indent=2) + "\n")
