"""Telemetry payloads: bytes in, envelopes and mistakes out. Pure.

JSON and CBOR (RFC 8949) are told apart by the first byte: JSON starts with `{`, `[` or white space, which in CBOR
would be integers or strings, never a map or an array.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from typing import Any
from uuid import UUID

import cbor2
import msgspec

from devices import contract

_JSON_STARTS = b"{[ \t\r\n"
_MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Message:
    """One envelope, checked, with its time as a moment."""

    msg_id: UUID
    ts: datetime
    schema_version: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One envelope that cannot be taken; `msg_id` where it could be read, so that the device hears of it."""

    reason: str
    detail: str
    path: str
    msg_id: UUID | None = None
    alone: bytes | None = None
    """The spoilt envelope by itself, where it came in an array."""


class _Named(msgspec.Struct):
    msg_id: UUID


def decode(payload: bytes) -> list[Message | Mistake]:
    """Take a payload apart: one envelope or an array of them. Never raises; a mistake spoils only its own envelope."""
    try:
        document = _parse(payload)
    except contract.ContractError as error:
        return _one_by_one(payload) or [Mistake(error.reason, error.detail, error.path, _named_in(payload))]
    if not isinstance(document, list):
        return [_envelope(document, "$")]
    if not document:
        return [Mistake("array", "an empty array", "$")]
    if len(document) > contract.MAX_ENVELOPES:
        detail = f"{len(document)} envelopes; at most {contract.MAX_ENVELOPES} are taken"
        return [Mistake("array", detail, "$", _msg_id(item), _encoded(item)) for item in document]
    messages = [_envelope(item, f"$[{index}]") for index, item in enumerate(document)]
    return [
        replace(message, alone=_encoded(document[index])) if isinstance(message, Mistake) else message
        for index, message in enumerate(messages)
    ]


def _one_by_one(payload: bytes) -> list[Message | Mistake]:
    """An array in which a value cannot be read: its other envelopes still can. Empty where it is no JSON array."""
    try:
        parts = msgspec.json.decode(payload, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    if not 1 <= len(parts) <= contract.MAX_ENVELOPES:
        return []
    found: list[Message | Mistake] = []
    for index, part in enumerate(parts):
        raw = bytes(part)
        path = f"$[{index}]"
        try:
            message = _envelope(_parse(raw), path)
        except contract.ContractError as error:
            message = Mistake(error.reason, error.detail, path + error.path[1:], _named_in(raw))
        found.append(replace(message, alone=raw) if isinstance(message, Mistake) else message)
    return found


def _named_in(raw: bytes) -> UUID | None:
    """The message id of an envelope that cannot be read as a whole: its other fields are only skipped over."""
    try:
        return msgspec.json.decode(raw, type=_Named).msg_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _encoded(item: Any) -> bytes | None:
    try:
        return msgspec.json.encode(item)
    except (RecursionError, OverflowError, ValueError):
        return None


def _parse(payload: bytes) -> Any:
    if len(payload) > contract.MAX_PAYLOAD_BYTES:
        raise contract.ContractError("too_large", f"{len(payload)} bytes, at most {contract.MAX_PAYLOAD_BYTES}")
    try:
        if payload and payload[0] in _JSON_STARTS:
            if b"\\u0000" in payload:
                raise contract.ContractError("nul", "text with a NUL character")
            return msgspec.json.decode(payload)
        stream = BytesIO(payload)
        document = cbor2.CBORDecoder(stream).decode()
        if stream.read(1):
            raise contract.ContractError("encoding", "bytes after the end of the message")
        return _plain(document, 0)
    except (
        msgspec.DecodeError,
        cbor2.CBORDecodeError,
        UnicodeDecodeError,
        ValueError,
        TypeError,
        MemoryError,
    ) as error:
        if isinstance(error, contract.ContractError):
            raise
        raise contract.ContractError("encoding", f"neither JSON nor CBOR: {error}"[:200]) from error
    except (RecursionError, OverflowError) as error:
        raise contract.ContractError("encoding", "nested too deeply or too large") from error


def _plain(value: Any, depth: int) -> Any:
    """CBOR can say more than JSON: keep what JSON has too (and UUIDs), refuse the rest."""
    if depth > _MAX_DEPTH:
        raise contract.ContractError("encoding", "nested too deeply")
    if isinstance(value, str):
        if "\0" in value:
            raise contract.ContractError("nul", "text with a NUL character")
        return value
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {_plain(key, depth): _plain(item, depth + 1) for key, item in value.items()}
    raise contract.ContractError("encoding", f"{type(value).__name__} has no place in a reading")


def _envelope(item: Any, path: str) -> Message | Mistake:
    try:
        envelope = contract.convert(item, contract.Envelope)
        return Message(envelope.msg_id, contract.timestamp(envelope.ts), envelope.schema_version, envelope.values)
    except contract.ContractError as error:
        return Mistake(error.reason, error.detail, path + error.path[1:], _msg_id(item))


def _msg_id(item: Any) -> UUID | None:
    try:
        return UUID(item["msg_id"])
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
