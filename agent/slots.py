"""Two slots for firmware, and the bootloader that chooses between them; what is switched off at any moment boots again.

`boot.json` is the bootloader's memory, replaced as a whole. A slot is tried once: the try is used up before the slot
runs, so that a version which never comes up, or does not commit itself, is followed by the old one at the next boot.
The running slot is never written. Every function blocks on the disk, and may be repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agent import identity, image
from agent.image import Header, ImageError

logger = logging.getLogger(__name__)

BOOT = "boot.json"
SLOTS = ("a", "b")


class SlotError(Exception):
    """There is nothing to boot, or somebody wants to write to the slot that runs."""


class Bootloader(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the bootloader remembers."""

    active: str = SLOTS[0]
    """The slot that proved itself."""
    trying: str = ""
    tries_left: int = 0
    ticket: str = ""
    """What `trying` was set for."""
    failed: str = ""
    """The ticket of the last try, if it came to nothing."""


@dataclass(frozen=True, slots=True)
class Start:
    """What came up."""

    slot: str
    header: Header
    trial: bool
    failed: str


def choose(state: Bootloader) -> tuple[Bootloader, str]:
    """The slot to boot, and what to remember before it runs. Pure."""
    if state.trying and state.tries_left > 0:
        return replace(state, tries_left=state.tries_left - 1), state.trying
    if state.trying:
        return replace(state, trying="", failed=state.ticket), state.active
    return state, state.active


def boot(directory: Path, factory: Header, comes_up: Callable[[Header], bool]) -> Start:
    """Switch on. Raises SlotError if nothing comes up, or OSError.

    `factory` is what a new device has in slot a; `comes_up` tells whether an image does (else: reset by the watchdog).
    """
    if not (directory / BOOT).exists():
        identity.write(path(directory, SLOTS[0]), image.header_line(factory))
        _write(directory, Bootloader())
    for _ in range(3):
        before = _read(directory)
        state, slot = choose(before)
        if state != before:
            _write(directory, state)
        header = _header(directory, slot)
        trial = slot == state.trying
        if header is not None and (not trial or comes_up(header)):
            return Start(slot, header, trial, state.failed)
        if not trial:  # what had proved itself is gone
            _write(directory, replace(state, active=other(slot)))
    raise SlotError(f"{directory}: neither slot boots")


def write(directory: Path, slot: str, sha256: str) -> bool:
    """Move the downloaded file into a slot, if it is not there already. Is the slot what it should be?

    Raises SlotError for the slot that runs, or OSError.
    """
    if slot == _read(directory).active:
        raise SlotError(f"slot {slot} is in use")
    if part(directory, sha256).exists():
        identity.rename(part(directory, sha256), path(directory, slot))
    target = path(directory, slot)
    return target.exists() and image.sha256(target) == sha256


def set_try(directory: Path, slot: str, ticket: str) -> None:
    """Let the next boot try a slot. Raises OSError."""
    _write(directory, replace(_read(directory), trying=slot, tries_left=1, ticket=ticket, failed=""))


def commit(directory: Path, slot: str) -> None:
    """The slot proved itself. Raises OSError."""
    _write(directory, Bootloader(active=slot))


def revert(directory: Path, ticket: str) -> None:
    """The next boot takes the slot that proved itself before. Raises OSError."""
    _write(directory, replace(_read(directory), trying="", tries_left=0, failed=ticket))


def path(directory: Path, slot: str) -> Path:
    """A slot's file."""
    return directory / f"slot-{slot}.img"


def part(directory: Path, sha256: str) -> Path:
    """Where an image is downloaded to."""
    return directory / f"{sha256}.part"


def discard(directory: Path) -> None:
    """Delete what was downloaded. Raises OSError."""
    for file in directory.glob("*.part"):
        file.unlink(missing_ok=True)


def other(slot: str) -> str:
    """The other slot."""
    return SLOTS[1 - SLOTS.index(slot)]


def _header(directory: Path, slot: str) -> Header | None:
    try:
        return image.read(path(directory, slot))
    except (ImageError, OSError) as error:
        logger.warning("slot %s does not boot: %s", slot, error)
        return None


def _read(directory: Path) -> Bootloader:
    try:
        return msgspec.json.decode((directory / BOOT).read_bytes(), type=Bootloader)
    except msgspec.MsgspecError as error:
        logger.warning("%s is damaged: %s", directory / BOOT, error)
        return Bootloader()


def _write(directory: Path, state: Bootloader) -> None:
    identity.write(directory / BOOT, msgspec.json.encode(state))
