"""Semantic versions (SemVer 2.0.0, https://semver.org): which of two is newer. Pure."""

from __future__ import annotations

import re
from functools import total_ordering

_NUMBER = r"(?:0|[1-9][0-9]*)"
_WORD = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_WORD}(?:\.{_WORD})*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
MAX_LENGTH = 64


class VersionError(ValueError):
    """Not a semantic version."""


@total_ordering
class Version:
    """A version that can be compared: `Version("1.10.0") > Version("1.9.3")`. Build metadata does not count."""

    __slots__ = ("_key", "text")

    def __init__(self, text: str) -> None:
        """Raises `VersionError`."""
        found = _SEMVER.fullmatch(text) if len(text) <= MAX_LENGTH else None
        if found is None:
            raise VersionError(f"{text[:MAX_LENGTH]!r} is not a semantic version such as 1.4.2 or 2.0.0-rc.1")
        self.text = text
        core = tuple(int(number) for number in found.group(1, 2, 3))
        # No pre-release is newer than any; numbers are older than words (SemVer 2.0.0, 11.4).
        words = found[4].split(".") if found[4] else []
        rest = tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in words)
        self._key = (core, not words, rest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: object) -> bool:
        return self._key < other._key if isinstance(other, Version) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        return self.text


def is_version(text: str) -> bool:
    """Is it a semantic version?"""
    return len(text) <= MAX_LENGTH and _SEMVER.fullmatch(text) is not None


def is_older(text: str, than: str) -> bool:
    """Is one version older than another? What is no semantic version is older than all that are, as it is unknown."""
    if not is_version(than):
        return False
    return not is_version(text) or Version(text) < Version(than)
