"""A payload tried against a vocabulary: what would be stored of it, or what is wrong with it. Pure, and stores nothing.

Judged by the code that judges what devices send, so it answers in the words of the dead letters.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import cbor2
import msgspec

from devices import contract
from devices.contract import ContractError
from telemetry import compression, payload
from telemetry.packing import Compiled
from telemetry.schema.compatibility import BOOLEAN, INTEGER, TEXT

SHOWN = 20
"""Envelopes of an array that are told in full."""
_LONGEST = 300
_HEX = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2}[\s:]*)+")
_AHEAD = timedelta(days=1)
TEXT_ONLY = "plain text; a message is a JSON object in { }, an array of them in [ ], or CBOR"
_NEVER_SENT = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Stored:
    """One value as it would be stored."""

    name: str
    value: str
    """For people; empty where the message lacks it."""
    unit: str = ""
    place: int | None = None
    """In the array of numbers, from 0; None where it is stored by name."""
    named: bool = True


@dataclass(frozen=True, slots=True)
class Tried:
    """One envelope."""

    number: int
    """From 1, in the order of the array."""
    stored: list[Stored] = field(default_factory=list)
    mistakes: list[ContractError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole payload."""

    told: str
    """What it was taken for."""
    size: int
    """Bytes, as a device would send it."""
    taken: int
    refused: int
    tried: list[Tried]
    """The first `SHOWN`, those with mistakes first."""

    @property
    def more(self) -> int:
        """Envelopes that are only counted."""
        return self.taken + self.refused - len(self.tried)


def from_text(text: str) -> tuple[bytes, str]:
    """What somebody pasted as bytes, and how it was written: JSON as it stands, or hex or Base64 of anything."""
    bare = text.strip()
    if bare[:1] not in {"{", "["}:
        if _HEX.fullmatch(bare):
            return bytes.fromhex(re.sub(r"^0x|[\s:]", "", bare)), "hex"
        try:
            packed = re.sub(r"\s", "", bare).replace("-", "+").replace("_", "/")
            return base64.b64decode(packed, validate=True), "Base64"
        except (binascii.Error, ValueError):
            pass
    return bare.encode("utf-8", "replace"), "text"


def attempt(data: bytes, compiled: Compiled, version: int, now: datetime, hot_days: int) -> Answer:
    """Judge bytes as if a device had sent them now, under version `version`. Never raises.

    An object that is no envelope is taken for the `values` of one. `hot_days` is how old a reading may be.
    """
    wrapped = _wrapped(data, {"msg_id": str(_NEVER_SENT), "ts": now.isoformat(), "schema_version": version})
    items = payload.decode(wrapped or data)
    kind = _kind(data)
    what = "an envelope" if len(items) == 1 else f"{len(items)} envelopes"
    if kind == "plain text":
        what = "no envelope"
        items = [payload.Mistake("encoding", TEXT_ONLY, "$")]
    if wrapped:
        what = "values alone, without an envelope"
    tried = [_judged(number, item, compiled) for number, item in enumerate(items, 1)]
    for each, item in zip(tried, items, strict=True):
        if isinstance(item, payload.Message):
            each.notes.extend(_notes(item, version, now, hot_days))
    refused = sum(bool(each.mistakes) for each in tried)
    shown = sorted(tried, key=lambda each: not each.mistakes)[:SHOWN]
    return Answer(f"{kind}: {what}", len(data), len(tried) - refused, refused, shown)


def is_plain_text(plain: bytes) -> bool:
    """Words, and neither a JSON object nor an array; no CBOR map or array is ever text, so no message either."""
    try:
        text = plain.decode()
    except UnicodeDecodeError:
        return False
    bare = text.strip()
    return bool(bare) and bare[0] not in "{[" and all(char.isprintable() or char.isspace() for char in bare)


def _kind(data: bytes) -> str:
    try:
        plain = compression.unpack(data[: contract.MAX_PAYLOAD_BYTES])
    except ContractError:
        return "neither JSON nor CBOR"
    if is_plain_text(plain):
        return "plain text"
    packed = "" if plain == data[: contract.MAX_PAYLOAD_BYTES] else " in zstd"
    return ("JSON" if plain.lstrip()[:1] in {b"{", b"["} else "CBOR") + packed


def _wrapped(data: bytes, head: dict[str, Any]) -> bytes | None:
    """An envelope around values that came without one; None where it is to be judged as it stands."""
    if len(data) > contract.MAX_PAYLOAD_BYTES:
        return None
    try:
        plain = compression.unpack(data)
        found = msgspec.json.decode(plain) if plain.lstrip()[:1] == b"{" else cbor2.loads(plain)
        if not isinstance(found, dict) or {"values", "msg_id", "schema_version"} & found.keys():
            return None
        return cbor2.dumps(head | {"values": found})
    except Exception:  # whatever is wrong with it, `payload.decode` has the dead letters' words for it
        return None


def _judged(number: int, item: payload.Message | payload.Mistake, compiled: Compiled) -> Tried:
    if isinstance(item, payload.Mistake):
        return Tried(number, mistakes=[ContractError(item.reason, item.detail, item.path)])
    mistakes = compiled.mistakes(item.values)
    if mistakes:
        return Tried(number, mistakes=mistakes)
    try:
        numbers, extra = compiled.pack(item.values)
    except ContractError as error:
        return Tried(number, mistakes=[error])
    return Tried(number, _stored(compiled, numbers, json.loads(extra) if extra else {}))


def _stored(compiled: Compiled, numbers: list[float | None], extra: dict[str, Any]) -> list[Stored]:
    found, places = [], dict(zip(compiled.positions, enumerate(numbers), strict=True))
    for metric in compiled.vocabulary.metrics:
        if metric.kind == TEXT:
            found.append(Stored(metric.name, _short(extra.pop(metric.name, "")), metric.unit))
            continue
        place, number = places[metric.name]
        text = "" if number is None else f"{number:.15g}"
        if number is not None and metric.kind == BOOLEAN:
            text = "yes" if number else "no"
        elif number is not None and metric.kind == INTEGER and abs(number) < 2**53:
            text = f"{number:.0f}"
        found.append(Stored(metric.name, text, metric.unit, place))
    return found + [Stored(_short(name), _short(json.dumps(value)), named=False) for name, value in extra.items()]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _notes(message: payload.Message, version: int, now: datetime, hot_days: int) -> list[str]:
    """What the portal would look at besides the values."""
    found = []
    if message.schema_version != version:
        told = f"It names schema_version {message.schema_version}, whose rules the portal would apply."
        found.append(f"{told} Here it is judged by version {version}.")
    if message.ts - now > _AHEAD:
        found.append("Sent now it would be refused (ts_ahead): its ts is more than a day ahead.")
    if now - message.ts > timedelta(days=hot_days):
        found.append(f"Sent now it would be refused (ts_old): its ts is more than {hot_days} days old.")
    return found
