"""The firmware image of a reference device: one line of JSON that says what it is, then its payload.

How it behaves is said there, too: a `boot_loop` never comes up, a `self_check` comes up and finds itself broken.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from random import Random

import msgspec

_CHUNK = 64 * 1024
_LONGEST_HEADER = 4096


class Health(StrEnum):
    """How an image behaves."""

    GOOD = "good"
    BOOT_LOOP = "boot_loop"
    SELF_CHECK = "self_check"


class Header(msgspec.Struct, frozen=True):
    """What an image says of itself."""

    version: str
    device_types: list[str]
    health: Health = Health.GOOD


class ImageError(ValueError):
    """The file is no image."""


def read(path: Path) -> Header:
    """What an image says of itself. Raises ImageError, or OSError."""
    with path.open("rb") as file:
        line = file.readline(_LONGEST_HEADER)
    if not line.endswith(b"\n"):
        raise ImageError(f"{path} does not begin with a line of JSON")
    try:
        return msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise ImageError(f"{path} is no image: {error}") from error


def header_line(header: Header) -> bytes:
    """The first line of an image."""
    return msgspec.json.encode(header) + b"\n"


def write(path: Path, header: Header, size: int) -> None:
    """Make an image of `size` bytes, or a little more if the header needs it; the same every time. Raises OSError."""
    dice = Random(f"{header.version}/{size}")  # noqa: S311 - a build has to be repeatable
    line = header_line(header)
    with path.open("wb") as file:
        file.write(line)
        left = max(0, size - len(line))
        while left:
            left -= file.write(dice.randbytes(min(left, _CHUNK)))


def sha256(path: Path) -> str:
    """The digest of a file, hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
