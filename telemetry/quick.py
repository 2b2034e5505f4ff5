"""Usual messages of one schema version, from JSON to what stands in a row, in one go. Pure.

One decoder reads them, checks the envelope and each value's type and range, and puts the numbers in stored order: a
third of the work for nearly all messages. It takes nothing that payload.py and packing.py would not take, and makes the
same of it. Whatever is not usual (CBOR, a text, another version, a value out of its range, a field that nobody knows)
it leaves to them, who also find the words.
"""

import math
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from devices.contract import MAX_ENVELOPES, MAX_PAYLOAD_BYTES
from telemetry.payload import Moment, moment
from telemetry.schema.compatibility import BOOLEAN, INTEGER, NUMBER, TEXT, MetricSpec, Vocabulary

Plain = tuple[UUID, datetime, list[float | None]]
"""Message id, time, and numbers in stored order."""
_EXACT = 2**53
"""Beyond it a whole number and its float are not the same: no such value is judged here."""


class Quick:
    """Reads what is usual for a schema version."""

    __slots__ = ("_mixed", "_one", "_some", "_wants_text")

    def __init__(self, vocabulary: Vocabulary, version: int) -> None:
        numbers = [metric for metric in vocabulary.metrics if metric.kind != TEXT]
        # Names of our own: a metric may be called like a word of Python.
        names = {f"f{place}": metric.name for place, metric in enumerate(numbers)}
        fields = [_field(field, metric) for field, metric in zip(names, numbers, strict=True)]
        values = msgspec.defstruct("Values", fields, rename=names, forbid_unknown_fields=True, kw_only=True, gc=False)
        parts: list[tuple[str, Any]] = [("msg_id", UUID), ("ts", int | Moment), ("schema_version", Literal[version])]
        envelope: Any = msgspec.defstruct(
            "Envelope", [*parts, ("values", values)], forbid_unknown_fields=True, gc=False
        )
        some: Any = Annotated[list[envelope], msgspec.Meta(min_length=1, max_length=MAX_ENVELOPES)]
        self._one, self._some = msgspec.json.Decoder(envelope), msgspec.json.Decoder(some)
        self._mixed = any(metric.kind != NUMBER for metric in numbers)
        self._wants_text = any(metric.kind == TEXT and metric.required for metric in vocabulary.metrics)

    def read(self, payload: bytes) -> list[Plain]:
        """Its readings; none where anything about it is not usual."""
        if len(payload) > MAX_PAYLOAD_BYTES or self._wants_text:
            return []
        try:
            if payload.startswith(b"{"):
                return [self._plain(self._one.decode(payload))]
            if payload.startswith(b"["):
                return [self._plain(each) for each in self._some.decode(payload)]
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
            pass
        return []

    def _plain(self, envelope: Any) -> Plain:
        numbers: list[float | None] = [*msgspec.structs.astuple(envelope.values)]
        if self._mixed:
            numbers = [None if each is None else float(each) for each in numbers]
        return envelope.msg_id, moment(envelope.ts), numbers


def _field(field: str, metric: MetricSpec) -> tuple[Any, ...]:
    """What a decoder must know of a metric. One that is not required may be missing, but is no null either."""
    low, high = max(metric.range[0], -_EXACT), min(metric.range[1], _EXACT)
    if low > high:
        low, high = 1, 0  # all that it allows is beyond: none of it is usual
    kind: Any = Annotated[float, msgspec.Meta(ge=low, le=high)]
    if metric.kind == BOOLEAN:
        kind = bool
    elif metric.kind == INTEGER:
        kind = Annotated[int, msgspec.Meta(ge=math.ceil(low), le=math.floor(high))]
    return (field, kind) if metric.required else (field, kind, None)
