"""Files that hold secrets: never readable by others, not even for the moment of writing, and never half written."""

import os
from pathlib import Path

from fleetportal.embedded.place import Account


def write_private(path: Path, text: str, owner: Account | None = None) -> None:
    """Replace `path` by a file of mode 600 holding `text`, belonging to `owner` (default: whoever runs us)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if owner:
            os.fchown(descriptor, owner.uid, owner.gid)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
