"""A vocabulary at work: its JSON Schema, an example, and the check that turns a message's values into a row. Pure."""

import json
import math
import sys
from itertools import islice
from typing import Any

import jsonschema_rs
import msgspec

from devices.contract import ContractError
from telemetry.schema.compatibility import BOOLEAN, INTEGER, NUMBER, TEXT, MetricSpec, Vocabulary

MAX_TEXT = 1000
"""Characters of one text."""
_TYPES = {NUMBER: frozenset({int, float}), INTEGER: frozenset({int}), BOOLEAN: frozenset({bool})}
_LARGEST = sys.float_info.max


class Compiled:
    """A vocabulary, ready to judge values and to pack them."""

    __slots__ = ("_closed", "_known", "_numbers", "_texts", "_validator", "pk", "positions", "revision", "vocabulary")

    def __init__(self, vocabulary: Vocabulary, pk: int = 0, revision: int = 0) -> None:
        """`pk` and `revision` are those of its row; 0 for one that is not saved."""
        self.vocabulary, self.pk, self.revision = vocabulary, pk, revision
        metrics = vocabulary.metrics
        self.positions = tuple(metric.name for metric in metrics if metric.kind != TEXT)
        """Names of the numbers, in stored order."""
        self._numbers = [
            (each.name, _TYPES[each.kind], max(each.range[0], -_LARGEST), min(each.range[1], _LARGEST), each.required)
            for each in metrics
            if each.kind != TEXT
        ]
        self._texts = [(metric.name, metric.required) for metric in metrics if metric.kind == TEXT]
        self._known = frozenset(self.positions)
        self._closed = not vocabulary.open
        self._validator = jsonschema_rs.validator_for(document(vocabulary))

    def pack(self, values: dict[str, Any]) -> tuple[list[float | None], str | None]:
        """Numbers in schema order, and the rest as JSON. Raises `ContractError` with the path to the first mistake.

        Nearly all messages of nearly all devices are plain: they are judged right here, in a third of the time. What
        is anything else is left to the JSON Schema, which has the last word and the words for it.
        """
        numbers: list[float | None] = []
        named = 0
        for name, types, low, high, required in self._numbers:
            value: Any = values.get(name)
            if type(value) in types and low <= value <= high:
                numbers.append(float(value))
                named += 1
            elif value is None and not required and name not in values:
                numbers.append(None)
            else:
                return self._pack_any(values)
        if named == len(values) and not self._texts:
            return numbers, None
        texts = {}
        for name, required in self._texts:
            value = values.get(name)
            if type(value) is str and len(value) <= MAX_TEXT:
                texts[name] = value
            elif required or name in values:
                return self._pack_any(values)
        if named + len(texts) < len(values):
            if self._closed:
                return self._pack_any(values)
            return numbers, _json({name: value for name, value in values.items() if name not in self._known})
        return numbers, _text(texts) if texts else None

    def _pack_any(self, values: dict[str, Any]) -> tuple[list[float | None], str | None]:
        for mistake in self.mistakes(values, most=1):
            raise mistake
        numbers = [None if values.get(name) is None else _number(name, values[name]) for name in self.positions]
        extra = {name: value for name, value in values.items() if name not in self._known}
        return numbers, _json(extra) if extra else None

    def mistakes(self, values: dict[str, Any], most: int = 50) -> list[ContractError]:
        """What the JSON Schema has against these values, the first `most` of it."""
        try:
            if self._validator.is_valid(values):
                return []
            errors = list(islice(self._validator.iter_errors(values), most))
        except (ValueError, OverflowError, RecursionError):  # half a character, too many digits, too deep
            return [_unstorable()]
        return [ContractError("schema", error.message[:300], _path(error.instance_path)) for error in errors]


def _path(parts: list[str | int]) -> str:
    return "$.values" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _number(name: str, value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ContractError("schema", "not a finite number", f"$.values.{name}")
    return number


def _text(texts: dict[str, str]) -> str:
    try:
        return msgspec.json.encode(texts).decode()
    except UnicodeEncodeError as error:
        raise _unstorable() from error


def _json(extra: dict[str, Any]) -> str:
    try:
        msgspec.msgpack.encode(extra)  # what cannot be sent to a browser is not stored either
        return json.dumps(extra, allow_nan=False)
    except (ValueError, OverflowError, RecursionError) as error:
        raise _unstorable() from error


def _unstorable() -> ContractError:
    return ContractError("schema", "a value no database can hold", "$.values")


def document(vocabulary: Vocabulary) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a message's `values`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {metric.name: _property(metric) for metric in vocabulary.metrics},
        "required": [metric.name for metric in vocabulary.metrics if metric.required],
        "additionalProperties": vocabulary.open,
    }


def _property(metric: MetricSpec) -> dict[str, Any]:
    told: dict[str, Any] = {"title": metric.label} if metric.label else {}
    if metric.unit:
        told["description"] = f"In {metric.unit}"
    if metric.kind == TEXT:
        return told | {"type": "string", "maxLength": MAX_TEXT}
    low, high = metric.range
    bounds = {"minimum": low, "maximum": high}
    return told | {"type": metric.kind} | {name: _plain(each) for name, each in bounds.items() if math.isfinite(each)}


def _plain(bound: float) -> float:
    return int(bound) if bound.is_integer() and abs(bound) < 2**53 else bound


def example(vocabulary: Vocabulary) -> dict[str, Any]:
    """Values that the vocabulary takes, with every metric in them."""
    return {metric.name: _example(metric) for metric in vocabulary.metrics}


def _example(metric: MetricSpec) -> Any:
    if metric.kind == TEXT:
        return "text"
    if metric.kind == BOOLEAN:
        return True
    low, high = metric.range
    if math.isinf(low) and math.isinf(high):
        middle = 1.0
    elif math.isinf(low) or math.isinf(high):
        middle = high if math.isinf(low) else low
    else:
        middle = low / 2 + high / 2
    if metric.kind == INTEGER:
        whole = math.floor(middle)
        return whole if whole >= low else math.ceil(low)
    rounded = round(middle, 2)
    return _plain(rounded if low <= rounded <= high else middle)
