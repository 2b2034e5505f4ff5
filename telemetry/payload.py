"""Telemetry payloads: bytes in, envelopes and mistakes out. Pure.

JSON and CBOR (RFC 8949) are told apart by the first byte: JSON starts with `{`, `[` or white space, which in CBOR
would be integers or strings, never a map or an array.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Annotated, Any
from uuid import UUID

import cbor2
import msgspec

from devices import contract
from telemetry import compression

_JSON_STARTS = b"{[ \t\r\n"
_BRACE, _BRACKET = b"{["
_MAX_DEPTH = 16
"""Of what stands in an envelope, which is 0: who reads a reading back, years later, has less of a stack."""
_MAX_BITS = 14_000
"""Of an integer: 4,200 digits. Python writes no longer ones."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)


class Message(msgspec.Struct, frozen=True, gc=False):
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


Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339 with offset."""


class _Usual(msgspec.Struct, forbid_unknown_fields=True):
    """The envelope as nearly every device sends it: read, checked and with its time parsed in one go.

    It takes nothing that `contract.Envelope` and `contract.timestamp` would not, and means the same by it. Fields that
    nobody asked for would only be skipped over here, but are judged there.
    """

    msg_id: UUID
    ts: int | Moment
    schema_version: Annotated[int, msgspec.Meta(ge=1, le=32767)]
    values: dict[str, Any]


_ONE = msgspec.json.Decoder(_Usual)
_SOME = msgspec.json.Decoder(Annotated[list[_Usual], msgspec.Meta(min_length=1, max_length=contract.MAX_ENVELOPES)])


def decode(payload: bytes) -> Sequence[Message | Mistake]:
    """Take a payload apart: one envelope or an array of them. Never raises; a mistake spoils only its own envelope."""
    return sized(payload)[0]


def sized(payload: bytes) -> tuple[Sequence[Message | Mistake], int]:
    """The same, and how many bytes were taken apart: a packed payload unpacked."""
    if usual := _usual(payload):
        return usual, len(payload)
    try:
        plain = _plain_bytes(payload)
    except contract.ContractError as error:
        size = contract.MAX_PAYLOAD_BYTES if error.reason == "too_large" else len(payload)
        return _spoilt(payload, error), size
    if plain is not payload and (usual := _usual(plain)):
        return usual, len(plain)
    return _any(plain), len(plain)


def _usual(payload: bytes) -> list[Message]:
    """Usual JSON in a quarter of the time. Empty where anything about it is not: `_any` knows what, and says it."""
    if len(payload) > contract.MAX_PAYLOAD_BYTES or b"\\u0000" in payload:
        return []
    try:
        if payload.startswith(b"{"):
            found = [_message(_ONE.decode(payload))]
        elif payload.startswith(b"["):
            found = [_message(each) for each in _SOME.decode(payload)]
        else:
            return []
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
        return []
    # Two braces and nothing else, the quickest to see: one of flat values. Each of an array has two of its own.
    if payload[0] == _BRACE and _BRACKET not in payload and payload.find(_BRACE, 1) == payload.rfind(_BRACE):
        return found
    if _opened(payload) > 2 * len(found) + _MAX_DEPTH - 2 and any(_is_deep(each.values, 1) for each in found):
        return []
    return found


def _message(usual: _Usual) -> Message:
    return Message(usual.msg_id, moment(usual.ts), usual.schema_version, usual.values)


def moment(ts: int | datetime) -> datetime:
    """What epoch milliseconds or a parsed time mean, in UTC, cut to the millisecond. Raises OverflowError."""
    if isinstance(ts, int):
        return _EPOCH + ts * _MILLISECOND
    exact = ts.astimezone(UTC)
    return exact - exact.microsecond % 1000 * _MICROSECOND


def _opened(payload: bytes) -> int:
    """Brackets, those in texts as well."""
    return payload.count(b"{") + payload.count(b"[")


def _is_deep(value: Any, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_is_deep(each, depth + 1) for each in inner)


def _any(payload: bytes) -> list[Message | Mistake]:
    try:
        document = _parse(payload)
    except contract.ContractError as error:
        return _spoilt(payload, error)
    if not isinstance(document, list):
        return [_envelope(document, "$")]
    if not document:
        return [Mistake("array", "an empty array", "$")]
    if len(document) > contract.MAX_ENVELOPES:
        detail = f"{len(document)} envelopes; at most {contract.MAX_ENVELOPES} are taken"
        # Its device hears of so many, and of the rest when it sends them again: however many there are, it is cheap.
        named = document[: contract.MAX_ENVELOPES]
        mistakes = [Mistake("array", detail, "$", _msg_id(item), _encoded(item)) for item in named]
        return [*mistakes, Mistake("array", detail, f"$[{contract.MAX_ENVELOPES}]")]
    messages = [_envelope(item, f"$[{index}]") for index, item in enumerate(document)]
    return [
        replace(message, alone=_encoded(document[index])) if isinstance(message, Mistake) else message
        for index, message in enumerate(messages)
    ]


def _spoilt(payload: bytes, error: contract.ContractError) -> list[Message | Mistake]:
    return _one_by_one(payload) or [Mistake(error.reason, error.detail, error.path, _named_in(payload))]


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


def _plain_bytes(payload: bytes) -> bytes:
    if len(payload) > contract.MAX_PAYLOAD_BYTES:
        raise contract.ContractError("too_large", f"{len(payload)} bytes, at most {contract.MAX_PAYLOAD_BYTES}")
    return compression.unpack(payload)


def _parse(payload: bytes) -> Any:
    if len(payload) > contract.MAX_PAYLOAD_BYTES:
        raise contract.ContractError("too_large", f"{len(payload)} bytes, at most {contract.MAX_PAYLOAD_BYTES}")
    try:
        if payload and payload[0] in _JSON_STARTS:
            if b"\\u0000" in payload:
                raise contract.ContractError("nul", "text with a NUL character")
            document = msgspec.json.decode(payload)
            if _opened(payload) > _MAX_DEPTH and _is_deep(document, _depth(document)):
                raise contract.ContractError("encoding", "nested too deeply")
            return document
        stream = BytesIO(payload)
        document = cbor2.CBORDecoder(stream).decode()
        if stream.read(1):
            raise contract.ContractError("encoding", "bytes after the end of the message")
        return _plain(document, _depth(document))
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


def _depth(document: Any) -> int:
    """Where to begin: an array around envelopes does not count."""
    return -1 if isinstance(document, list) else 0


def _plain(value: Any, depth: int) -> Any:
    """CBOR can say more than JSON: keep what JSON has too (and UUIDs), refuse the rest."""
    if depth > _MAX_DEPTH:
        raise contract.ContractError("encoding", "nested too deeply")
    if isinstance(value, str):
        if "\0" in value:
            raise contract.ContractError("nul", "text with a NUL character")
        return value
    if value is None or isinstance(value, (bool, int, float)):
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            raise contract.ContractError("encoding", "an integer of too many digits")
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
