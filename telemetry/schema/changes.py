"""Changing a schema version, and cutting the next one."""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Max
from django.db.models.functions import Now

from devices import evidence
from devices.errors import DomainError
from devices.models import DeviceType
from telemetry.models import Metric, Schema
from telemetry.schema import schemas
from telemetry.schema.compatibility import MetricSpec, Violation, Vocabulary, mistakes, violations

LAST_VERSION = 32767
"""What fits into an envelope's `schema_version`."""


class SchemaRefused(DomainError):
    """A vocabulary that cannot be, or a change that is not compatible."""

    code = "schema_refused"

    def __init__(self, found: list[Violation]) -> None:
        super().__init__("; ".join(f"{each.metric or 'the version'}: {each}" for each in found))
        self.violations = found


class ChangedMeanwhile(DomainError):
    """Somebody else was first. Nothing was written."""

    code = "schema_changed_meanwhile"
    status = 409


def newest(device_type: DeviceType) -> int:
    """Number of a device type's newest version; 0 where there is none."""
    rows = Schema.objects.filter(device_type=device_type)
    return int(rows.aggregate(newest=Max("version"))["newest"] or 0)


@transaction.atomic
def change(row: Schema, wanted: Vocabulary, *, revision: int, user: Any, reason: str = "") -> bool:
    """Make a version say what is wanted, of which `revision` is the one the wish was made upon.

    Returns whether there was anything to change. Every worker judges by it from its next batch on.
    Raises `SchemaRefused` with every mistake, and `ChangedMeanwhile`.
    """
    # Not FOR UPDATE: what devices send now refers to this row, and goes on being stored.
    row = Schema.objects.select_for_update(no_key=True, of=("self",)).select_related("device_type").get(pk=row.pk)
    if row.revision != revision:
        detail = f"{row} was changed meanwhile: revision {revision} became {row.revision}. Nothing was written."
        raise ChangedMeanwhile(detail)
    old = schemas.vocabulary(row)
    _refuse(mistakes(wanted))
    _refuse(violations(old, wanted, newest(row.device_type) + 1))
    if wanted == old:
        return False
    rows = list(row.metrics.all())
    for metric, was, now in zip(rows, old.metrics, wanted.metrics, strict=False):
        if now != was:
            bounds = {"minimum": now.minimum, "maximum": now.maximum}
            Metric.objects.filter(pk=metric.pk).update(label=now.label, required=now.required, **bounds)
    _add(row, wanted.metrics[len(rows) :], rows[-1].position + 1 if rows else 0)
    Schema.objects.filter(pk=row.pk).update(open=wanted.open, revision=F("revision") + 1, changed_at=Now())
    told = {"id": row.pk, "name": str(row), "revision": revision + 1, **_difference(old, wanted)}
    evidence.record("schema.changed", user=user, reason=reason, detail=told)
    return True


@transaction.atomic
def cut(device_type: DeviceType, wanted: Vocabulary, *, version: int, user: Any, reason: str = "") -> Schema:
    """Make version `version`, which must be the one after the newest; it may say anything that is no mistake.

    Raises `SchemaRefused` with every mistake, and `ChangedMeanwhile` where somebody cut that version first.
    """
    _refuse(mistakes(wanted))
    after = newest(device_type)
    if version > LAST_VERSION:
        end = f"Versions end at {LAST_VERSION}."
        raise SchemaRefused([Violation("", "metrics", end, "Register a new device type.")])
    try:
        if version != after + 1:
            raise IntegrityError
        with transaction.atomic():
            row = Schema.objects.create(device_type=device_type, version=version, open=wanted.open)
    except IntegrityError as error:
        detail = f"Version {version} of {device_type} was cut by somebody else meanwhile. Nothing was written."
        raise ChangedMeanwhile(detail) from error
    _add(row, wanted.metrics, 0)
    told = {"id": row.pk, "name": str(row), "new": _told(wanted)}
    evidence.record("schema.cut", user=user, reason=reason, detail=told)
    return row


def _refuse(found: list[Violation]) -> None:
    if found:
        raise SchemaRefused(found)


def _add(row: Schema, metrics: tuple[MetricSpec, ...], first: int) -> None:
    Metric.objects.bulk_create(
        Metric(
            schema=row,
            position=position,
            name=each.name,
            kind=each.kind,
            label=each.label,
            unit=each.unit,
            minimum=each.minimum,
            maximum=each.maximum,
            required=each.required,
        )
        for position, each in enumerate(metrics, first)
    )


def _told(vocabulary: Vocabulary) -> dict[str, Any]:
    return {"open": vocabulary.open, "metrics": {each.name: _facts(each) for each in vocabulary.metrics}}


def _facts(metric: MetricSpec) -> dict[str, Any]:
    names = ("kind", "label", "unit", "minimum", "maximum", "required")
    return {name: getattr(metric, name) for name in names}


def _difference(old: Vocabulary, new: Vocabulary) -> dict[str, Any]:
    """Both sides, without the metrics that stay as they are."""
    same = set(old.metrics) & set(new.metrics)
    sides = {"old": old, "new": new}
    return {
        side: _told(Vocabulary(tuple(each for each in told.metrics if each not in same), told.open))
        for side, told in sides.items()
    }
