"""How a benchmark says what it found."""

import json
import os
import platform
import sys
from typing import Any


def report(name: str, figures: dict[str, Any], ratios: dict[str, Any], *, must: bool, aim: bool) -> int:
    """Print the one line that counts. Returns the exit code: 0 when the figure that must be reached is reached."""
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    line = {"name": name, "machine": machine, "figures": figures, "ratios": ratios, "must": must, "aim": aim}
    sys.stdout.write(json.dumps(line) + "\n")
    return 0 if must else 1
