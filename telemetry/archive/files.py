"""Files of the archive, on whatever storage `archive` is: one Parquet a part, its manifest beside it."""

import hashlib
import os
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import IO

import msgspec
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from telemetry.archive.manifests import Manifest

_BLOCK = 1 << 20


class ArchiveError(Exception):
    """A file of the archive is not what it should be: its path, and what is wrong with it."""


def storage() -> Storage:
    """Where the archive lies."""
    return storages["archive"]


def path_of(day: date, part: int) -> str:
    """Path of a part's file in the storage."""
    return f"readings/{day:%Y/%m}/{day}.{part}.parquet"


def manifest_path(path: str) -> str:
    """Path of the manifest beside a file."""
    return path.removesuffix(".parquet") + ".json"


def put(content: IO[bytes], path: str) -> None:
    """Write a file whole and for good, or not at all. What a killed run left under this path goes first.

    On a disk nobody can write to it any more, only delete it.

    Raises ArchiveError, OSError, and whatever a remote storage raises.
    """
    there = storage()
    there.delete(path)
    try:
        saved = there.save(path, File(content))
    except BaseException:
        with suppress(Exception):  # half a file on a full disk helps nobody; the reason is raised
            there.delete(path)
        raise
    if saved != path:
        there.delete(saved)
        raise ArchiveError(f"{path}: somebody else writes there at the same time")
    _settle(there, path)


def _settle(there: Storage, path: str) -> None:
    """On a disk: there after a power cut, too, before the database forgets. Remote storages answer only then."""
    try:
        local = Path(there.path(path))
    except NotImplementedError:
        return
    local.chmod(0o440)  # the only copy of a day
    root = Path(there.path(""))
    for each in (local, *(folder for folder in local.parents if folder == root or root in folder.parents)):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def fetch(path: str, target: Path) -> str:
    """Copy a file out of the storage. Returns its SHA-256 (hex). Raises ArchiveError when it is not there."""
    told = hashlib.sha256()
    with _opened(path) as source, target.open("wb") as copy:
        while block := source.read(_BLOCK):
            told.update(block)
            copy.write(block)
    return told.hexdigest()


def file_digest(path: str) -> str:
    """SHA-256 (hex) of a file in the storage, every byte of it read. Raises ArchiveError when it is not there."""
    told = hashlib.sha256()
    with _opened(path) as source:
        while block := source.read(_BLOCK):
            told.update(block)
    return told.hexdigest()


def local(path: str, scratch: Path) -> Path:
    """A file for reading in place; out of a remote storage it is copied to `scratch`. Raises ArchiveError."""
    there = storage()
    try:
        found = Path(there.path(path))
    except NotImplementedError:
        found = scratch / Path(path).name
        fetch(path, found)
    if not found.is_file():
        raise ArchiveError(f"{path}: missing from the archive")
    return found


def write_manifest(manifest: Manifest) -> None:
    """Write it beside its file. Raises as `put` does."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    put(ContentFile(text), manifest_path(manifest.file))


def read_manifest(path: str) -> Manifest:
    """The manifest of the file at `path`. Raises ArchiveError when it is not there or not understood."""
    where = manifest_path(path)
    with _opened(where) as source:
        text = source.read()
    try:
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{where}: {error}") from error


def is_free(path: str, digest: str) -> bool:
    """May readings of this digest be written to `path`? No file is there, or one that says that it holds just these.

    A file whose manifest is lost may be the only copy of other readings.
    """
    if not storage().exists(path):
        return True
    try:
        return read_manifest(path).digest == digest
    except ArchiveError:
        return False


def _opened(path: str) -> IO[bytes]:
    try:
        opened: IO[bytes] = storage().open(path, "rb")
    except FileNotFoundError as error:
        raise ArchiveError(f"{path}: missing from the archive") from error
    return opened
