"""The manifest of a part: what its numbers mean, in the words of the time it is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

import duckdb
from django.db import connection

from devices.models import Device
from telemetry.archive import canonical
from telemetry.archive.digests import Said
from telemetry.archive.manifests import FORMAT, Column, Manifest, Metric, Origin, Vocabulary
from telemetry.archive.reading import Content
from telemetry.models import Metric as MetricRow
from telemetry.models import Schema

_DIGEST_OF = (
    "SHA-256 of PostgreSQL's binary COPY of device_pk, ts, msg_id, received_at, schema_id, flags, metrics, m1, m2, …,"
    " extra, in the order of the first three"
)
_ABOUT = {
    "device": "id of the device, as in its topics",
    "device_pk": "what the database calls the device: see `devices`",
    "ts": "when it was measured, by the device's clock",
    "msg_id": "the device's id of the message; device, ts and msg_id are the key",
    "received_at": "when it was stored",
    "schema_id": "which schema: see `schemas`",
    "flags": "bits; 1: the device's clock was ahead",
    "metrics": "how many values were stored; the columns beyond are NULL",
    "extra": "JSON: texts, and what an open schema does not name",
}


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written and read back."""

    day: date
    part: int
    path: str
    size: int
    file_digest: str
    at: datetime


def describe(written: Written, said: Said, content: Content) -> Manifest:
    """The manifest of a file with that content."""
    return Manifest(
        format=FORMAT,
        day=written.day,
        part=written.part,
        file=written.path,
        size=written.size,
        file_digest=written.file_digest,
        digest=said.digest,
        digest_of=_DIGEST_OF,
        rows=said.rows,
        width=said.width,
        first_ts=said.first_ts,
        last_ts=said.last_ts,
        written_at=written.at,
        written_by=f"fleetportal, DuckDB {duckdb.__version__}, PostgreSQL {_postgresql()}",
        columns=[Column(each.name, each.type, _about(each.name)) for each in canonical.columns(said.width)],
        schemas=_schemas(content.schemas),
        devices=_devices(content.devices),
    )


def _about(name: str) -> str:
    return _ABOUT.get(name) or f"value {name[1:]} of the schema's numbers"


def _postgresql() -> str:
    version = connection.pg_version  # type: ignore[attr-defined]
    return f"{version // 10000}.{version % 10000}"


def _schemas(pks: Iterable[int]) -> dict[int, Vocabulary]:
    rows = Schema.objects.filter(pk__in=pks).select_related("device_type").prefetch_related("metrics").order_by("pk")
    return {row.pk: _vocabulary(row) for row in rows}


def _vocabulary(row: Schema) -> Vocabulary:
    metrics = [(each.kind, Metric(each.name, each.label, each.unit, each.kind)) for each in row.metrics.all()]
    text = MetricRow.Kind.TEXT
    return Vocabulary(
        row.device_type.slug,
        row.version,
        [metric for kind, metric in metrics if kind != text],
        [metric for kind, metric in metrics if kind == text],
    )


def _devices(readings: Mapping[int, int]) -> dict[int, Origin]:
    rows = Device.objects.filter(pk__in=readings).select_related("tenant", "device_type").order_by("pk")
    return {row.pk: Origin(row.device_id, row.tenant.slug, row.device_type.slug, readings[row.pk]) for row in rows}
