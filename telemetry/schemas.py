"""Schemas compiled: is a message's vocabulary known, and what are its numbers?"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import msgspec

from devices.contract import ContractError
from telemetry.models import Metric, Schema

_MAX_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Compiled:
    """One schema version, ready to judge values and to pack them."""

    pk: int
    positions: tuple[str, ...]
    texts: frozenset[str]
    validator: Any

    def pack(self, values: dict[str, Any]) -> tuple[list[float | None], str | None]:
        """Numbers in schema order, and the rest as JSON. Raises `ContractError` with the path to the mistake."""
        error = None if self.validator.is_valid(values) else next(self.validator.iter_errors(values), None)
        if error is not None:
            path = "$.values" + "".join(f".{part}" for part in error.instance_path)
            raise ContractError("schema", error.message[:300], path)
        numbers = [None if values.get(name) is None else _number(name, values[name]) for name in self.positions]
        known = set(self.positions)
        extra = {name: value for name, value in values.items() if name not in known}
        return numbers, _json(extra) if extra else None


def _number(name: str, value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ContractError("schema", "not a finite number", f"$.values.{name}")
    return number


def _json(extra: dict[str, Any]) -> str:
    try:
        msgspec.msgpack.encode(extra)  # what cannot be sent to a browser is not stored either
        return json.dumps(extra, allow_nan=False)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ContractError("schema", "a value no database can hold", "$.values") from error


def document(metrics: Iterable[Metric], *, open_: bool) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a schema version's values."""
    metrics = list(metrics)
    return {
        "type": "object",
        "properties": {metric.name: _property(metric) for metric in metrics},
        "required": [metric.name for metric in metrics if metric.required],
        "additionalProperties": open_,
    }


def _property(metric: Metric) -> dict[str, Any]:
    if metric.kind == Metric.Kind.TEXT:
        return {"type": "string", "maxLength": _MAX_TEXT}
    rule: dict[str, Any] = {"type": metric.kind}
    if metric.minimum is not None and metric.kind != Metric.Kind.BOOLEAN:
        rule["minimum"] = metric.minimum
    if metric.maximum is not None and metric.kind != Metric.Kind.BOOLEAN:
        rule["maximum"] = metric.maximum
    return rule


def compile_schema(schema: Schema) -> Compiled:
    """Compile a row with its metrics."""
    metrics = list(schema.metrics.order_by("position"))
    texts = frozenset(metric.name for metric in metrics if metric.kind == Metric.Kind.TEXT)
    return Compiled(
        schema.pk,
        tuple(metric.name for metric in metrics if metric.name not in texts),
        texts,
        jsonschema_rs.validator_for(document(metrics, open_=schema.open)),
    )


_compiled: dict[int, Compiled] = {}


def of_types(device_types: Iterable[int]) -> dict[tuple[int, int], Compiled]:
    """Compiled schemas of these device types by (type, version). Compiled once: a version never changes."""
    found = {}
    for row in Schema.objects.filter(device_type_id__in=set(device_types)).prefetch_related("metrics"):
        if row.pk not in _compiled:
            _compiled[row.pk] = compile_schema(row)
        found[row.device_type_id, row.version] = _compiled[row.pk]
    return found
