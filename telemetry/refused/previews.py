"""What a refused payload says, as lines of text for people, with the mistake marked. Pure; whatever the bytes are."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import cbor2
import msgspec

from devices.contract import ContractError
from telemetry import compression

MAX_LINES = 2_000
"""Lines shown of a document."""
MAX_HEX = 4_096
"""Bytes shown of what is no document."""
MAX_LINE = 500
"""Characters shown of a line."""
_DEPTH = 16
_WIDTH = 16
_LONG = 1_024
"""Bits of an integer that is not written in digits."""
_JSON_STARTS = b"{[ \t\r\n"
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text; `marked` where the mistake is."""

    text: str
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """A payload as people read it."""

    form: str
    """JSON, CBOR, Text or Bytes; with `, zstd` where it came compressed."""
    lines: list[Line]
    cut: bool
    """Is there more than is shown?"""


def preview(payload: bytes, path: str = "$") -> Preview:
    """Take a payload apart as far as it can be, and mark the place of the mistake where it is found. Never raises."""
    form, plain = _unpacked(payload)
    try:
        kind, document = _parsed(plain)
    except Exception:  # of bytes that no rule binds, whatever a parser says of them
        kind, lines, cut = _raw(plain)
        return Preview(kind + form, lines, cut)
    asked = _steps(path)
    if asked and isinstance(asked[0], int) and not isinstance(document, list):
        asked = asked[1:]  # the letter holds one envelope of the array that it names
    found = _nearest(document, asked)
    rows = islice(_lines(document, (), "", "", 0, found or None), MAX_LINES + 1)
    lines = [Line(_short(text), marked) for text, marked in rows]
    return Preview(kind + form, lines[:MAX_LINES], len(lines) > MAX_LINES)


def _unpacked(payload: bytes) -> tuple[str, bytes]:
    try:
        plain = compression.unpack(payload)
    except ContractError:
        return "", payload
    return (", zstd" if plain is not payload else ""), plain


def _parsed(plain: bytes) -> tuple[str, Any]:
    if plain and plain[0] in _JSON_STARTS:
        return "JSON", msgspec.json.decode(plain)
    document = cbor2.loads(plain)
    if not isinstance(document, (dict, list)):
        raise TypeError("almost any bytes are some CBOR value")
    return "CBOR", document


def _steps(path: str) -> Path:
    """`$.values.temperature_c` as steps; texts of a topic or of nothing known are none."""
    if not path.startswith("$"):
        return ()
    return tuple(int(index) if index else name for name, index in _STEP.findall(path[:1000]))


def _nearest(document: Any, path: Path) -> Path:
    """As far along the path as the document goes: what is missing is missing in what holds it."""
    here = document
    found: list[str | int] = []
    for step in path:
        if isinstance(here, list) and str(step).isdecimal() and int(step) < len(here):
            found.append(int(step))
        elif isinstance(here, dict) and step in here:
            found.append(step)
        else:
            break
        here = here[found[-1]]
    return tuple(found)


def _lines(value: Any, at: Path, lead: str, comma: str, depth: int, mark: Path | None) -> Iterator[tuple[str, bool]]:
    """A value as indented JSON, each line with whether it lies in what is marked."""
    marked = mark is not None and at[: len(mark)] == mark
    pad = "  " * depth
    children: list[tuple[str, Any, Any]] = []
    if isinstance(value, dict):
        children = [(f"{_scalar(_text(name))}: ", name, inner) for name, inner in value.items()]
    elif isinstance(value, list):
        children = [("", index, inner) for index, inner in enumerate(value)]
    if not children or depth >= _DEPTH:
        yield f"{pad}{lead}{'…' if children else _scalar(value)}{comma}", marked
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    yield f"{pad}{lead}{opening}", marked
    for number, (name, step, inner) in enumerate(children, 1):
        yield from _lines(inner, (*at, step), name, "," if number < len(children) else "", depth + 1, mark)
    yield f"{pad}{closing}{comma}", marked


def _scalar(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return f"h'{bytes(value[:MAX_LINE]).hex()}'"
    if value is None or isinstance(value, (bool, int, float, str, dict, list)):
        if isinstance(value, int) and value.bit_length() > _LONG:
            return _text(value)
        return _visible(json.dumps(value[:MAX_LINE] if isinstance(value, str) else value, ensure_ascii=False))
    return _visible(f"{type(value).__name__} {_text(value)[:MAX_LINE]}")


def _text(value: Any) -> str:
    """As Python writes it; what it refuses to, as CBOR's integers of thousands of digits, in words."""
    if isinstance(value, int) and value.bit_length() > _LONG:
        return f"a number of {value.bit_length():,} bits"
    try:
        return str(value)
    except (ValueError, RecursionError):
        return "too long or too deep to be shown"


def _visible(text: str) -> str:
    """Nothing that hides or turns text around: controls and direction marks become their numbers."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def _short(text: str) -> str:
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}…"


def _raw(plain: bytes) -> tuple[str, list[Line], bool]:
    """Text where it is that, otherwise a hex dump."""
    try:
        text = plain.decode()
    except UnicodeDecodeError:
        text = ""
    if text and sum(not (char.isprintable() or char in "\r\n\t") for char in text[:MAX_HEX]) == 0:
        parts = [_short(_visible(part)) for part in text[: MAX_HEX * 4].splitlines()]
        return "Text", [Line(part) for part in parts[:MAX_LINES]], len(text) > MAX_HEX * 4 or len(parts) > MAX_LINES
    shown = plain[:MAX_HEX]
    rows = [shown[start : start + _WIDTH] for start in range(0, len(shown), _WIDTH)]
    return "Bytes", [Line(_dumped(number * _WIDTH, row)) for number, row in enumerate(rows)], len(plain) > MAX_HEX


def _dumped(offset: int, row: bytes) -> str:
    seen = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
    return f"{offset:06x}  {row.hex(' '):<{_WIDTH * 3}} {seen}"
