"""Where firmware files lie, how long they are, and their bytes: the reading half of the store (artifacts.py writes)."""

from typing import IO, Any

from django.core.files.storage import Storage, storages

from firmware.errors import FirmwareError

STORE = "firmware"
"""Its name in STORAGES."""


def store() -> Storage:
    """The store, wherever it is: a folder by default."""
    return storages[STORE]


def name(sha256: str) -> str:
    """What a file is called in the store."""
    return f"{sha256[:2]}/{sha256}"


def size(sha256: str) -> int | None:
    """Bytes of a stored file; None when it is not there."""
    try:
        return store().size(name(sha256)) if store().exists(name(sha256)) else None
    except FileNotFoundError:
        return None


def open_file(sha256: str) -> IO[Any]:
    """A stored file, seekable, opened for reading. Raises `FirmwareError` (artifact_missing, 503)."""
    try:
        return store().open(name(sha256), "rb")
    except OSError as error:
        raise FirmwareError("The file is not in the store.", "artifact_missing", 503) from error
