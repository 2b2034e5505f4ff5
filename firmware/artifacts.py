"""The store of firmware files: by SHA-256, streamed in and out, never whole in memory.

A file arrives under a temporary name, is hashed on the way, and is moved to its digest in one step, so that what has
a digest for its name is whole. Rows and files change under one lock for each digest: who deletes a file nobody speaks
of, and who is about to speak of it, wait for each other.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage
from django.db import connection, transaction

from firmware import files
from firmware.errors import FirmwareError
from firmware.models import Artifact, Release

STALE = timedelta(days=1)
"""What is still arriving after this long is not; and files without a row are left alone until then."""
INCOMING = "incoming"
"""Folder of what is arriving, beside the digests. Requests are spooled there too, by TMPDIR of whoever takes them."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the store."""

    sha256: str
    sha1: str
    md5: str
    size: int


class Arrived(File):  # type: ignore[type-arg]  # it takes no parameter at run time
    """A file that has arrived and is not in the store yet."""

    def __init__(self, file: IO[bytes], path: Path, stored: Stored) -> None:
        super().__init__(file, stored.sha256)
        self.path, self.stored = path, stored

    def temporary_file_path(self) -> str:
        """Where it lies: a store in the same file system moves it instead of copying it."""
        return str(self.path)

    def keep(self) -> Stored:
        """Put it into the store, where it is kept once. Call it in the transaction that writes the row about it.

        Raises `FirmwareError` (store_unavailable, 503).
        """
        _lock(self.stored.sha256)
        name, store = files.name(self.stored.sha256), files.store()
        with _available():
            known = files.size(self.stored.sha256)
            if known == self.stored.size:
                return self.stored
            if known is not None:
                store.delete(name)  # cut short by something outside; these bytes are the right ones
            self.seek(0)
            kept = store.save(name, self)
            if kept != name:
                store.delete(kept)
                raise OSError(f"the store called {name} {kept}")
            _settle(name)
        return self.stored


@contextmanager
def arriving(chunks: Iterable[bytes], *, limit: int) -> Iterator[Arrived]:
    """Take in a file and hash it; afterwards nothing is left of one that was not kept.

    Raises `FirmwareError`: too_large (413), store_unavailable (503).
    """
    path: Path | None = None
    try:
        with _available():
            folder = settings.FIRMWARE_DIRECTORY / INCOMING
            folder.mkdir(parents=True, exist_ok=True)
            handle, text = tempfile.mkstemp(dir=folder)
            path = Path(text)
            with os.fdopen(handle, "wb") as file:
                stored = _copy(chunks, file, limit)
                file.flush()
                os.fsync(file.fileno())
            arrived = Arrived(path.open("rb"), path, stored)
        with arrived:
            yield arrived
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


def store(chunks: Iterable[bytes], *, limit: int) -> Stored:
    """Keep a file under its digest; one that is there already is kept once.

    Raises `FirmwareError`: too_large (413), store_unavailable (503).
    """
    with arriving(chunks, limit=limit) as arrived, transaction.atomic():
        return arrived.keep()


def open_file(sha256: str) -> IO[Any]:
    """A stored file, seekable, opened for reading. Raises `FirmwareError` (artifact_missing, 503)."""
    return files.open_file(sha256)


def exists(sha256: str) -> bool:
    """Is it there?"""
    return files.size(sha256) is not None


def forget(sha256: str) -> bool:
    """Delete a file that no row speaks of. False when one does, or when it is not there."""
    with transaction.atomic():
        _lock(sha256)
        if Artifact.objects.filter(sha256=sha256).exists() or Release.objects.filter(sbom_sha256=sha256).exists():
            return False
        if not exists(sha256):
            return False
        files.store().delete(files.name(sha256))
    return True


def sweep(now: datetime) -> int:
    """Clear away what crashes have left for a day: half-arrived files, and files that got no row. Returns how many."""
    gone = 0
    folder = settings.FIRMWARE_DIRECTORY / INCOMING
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            old = path.stat().st_mtime < (now - STALE).timestamp()
        except FileNotFoundError:
            continue  # it has arrived meanwhile
        if old and not path.is_dir():
            path.unlink(missing_ok=True)
            gone += 1
    return gone + sum(forget(sha256) for sha256 in _strays(now))


def _strays(now: datetime) -> list[str]:
    """Digests of files older than a day that no row speaks of."""
    store, found = files.store(), []
    try:
        folders = [name for name in store.listdir("")[0] if name != INCOMING]
    except FileNotFoundError:
        return []
    for folder in folders:
        names = store.listdir(folder)[1]
        told = set(Artifact.objects.filter(sha256__in=names).values_list("sha256", flat=True))
        told |= set(Release.objects.filter(sbom_sha256__in=names).values_list("sbom_sha256", flat=True))
        unknown = [name for name in names if name not in told]
        found += [name for name in unknown if store.get_modified_time(files.name(name)) < now - STALE]
    return found


def _copy(chunks: Iterable[bytes], file: IO[bytes], limit: int) -> Stored:
    """Write and hash in one pass."""
    sha256, size = hashlib.sha256(), 0
    # These two are for update clients that insist on them; nothing is verified by them.
    sha1, md5 = hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise FirmwareError(f"The file is longer than {limit} bytes.", "too_large", 413)
        for digest in (sha256, sha1, md5):
            digest.update(chunk)
        file.write(chunk)
    return Stored(sha256.hexdigest(), sha1.hexdigest(), md5.hexdigest(), size)


@contextmanager
def _available() -> Iterator[None]:
    """A full disk or a store that is away is nobody's mistake: come again."""
    try:
        yield
    except OSError as error:
        raise FirmwareError("The file cannot be stored now.", "store_unavailable", 503) from error


def _lock(sha256: str) -> None:
    """Until the end of the transaction nobody else adds or deletes the file of this digest."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int(sha256[:16], 16) - 2**63])


def _settle(name: str) -> None:
    """Make the new name survive a power cut, where the store is a folder."""
    store = files.store()
    if not isinstance(store, FileSystemStorage):
        return
    path = Path(store.path(name))
    for folder in (path.parent, path.parent.parent):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
