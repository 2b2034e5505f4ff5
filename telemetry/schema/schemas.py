"""Schemas of device types, compiled once for each revision."""

import threading
from collections.abc import Iterable

from telemetry.models import Metric, Schema
from telemetry.packing import Compiled
from telemetry.schema.compatibility import RANGED, MetricSpec, Vocabulary

__all__ = ["Compiled", "compiled", "numeric_names", "of_types", "vocabulary"]

_compiled: dict[int, Compiled] = {}
_newest_wins = threading.Lock()


def of_types(device_types: Iterable[int]) -> dict[tuple[int, int], Compiled]:
    """Compiled schemas of these device types by (type, version).

    One query that names what is there; only what is new or was changed since is read and compiled. So a change is seen
    with the next call after its commit, by every process.
    """
    wanted = list(set(device_types))
    rows = Schema.objects.filter(device_type_id__in=wanted).order_by()
    known = list(rows.values_list("pk", "revision", "device_type_id", "version")) if wanted else []
    _read({pk: revision for pk, revision, _, _ in known})
    return {(kind, version): _compiled[pk] for pk, _, kind, version in known}


def numeric_names(schema_pks: Iterable[int]) -> dict[int, list[str]]:
    """Names of the metrics that are stored as numbers, in stored order, by schema. One query where all are known.

    Arrays that were stored before the newest metrics were added are shorter than this.
    """
    wanted = list(set(schema_pks))
    rows = Schema.objects.filter(pk__in=wanted).order_by()
    known = dict(rows.values_list("pk", "revision")) if wanted else {}
    _read(known)
    return {pk: list(_compiled[pk].positions) for pk in known}


def _read(revisions: dict[int, int]) -> None:
    """Compile those whose revision is newer than the one in memory."""
    stale = [pk for pk, revision in revisions.items() if pk not in _compiled or _compiled[pk].revision < revision]
    if stale:
        for row in Schema.objects.filter(pk__in=stale).prefetch_related("metrics"):
            # The metrics may be newer than the row by a commit in between: then the next call compiles it again.
            _remember(compiled(row))


def _remember(made: Compiled) -> None:
    """Unless another thread, that read later, has made a newer one meanwhile."""
    with _newest_wins:
        known = _compiled.get(made.pk)
        if known is None or known.revision < made.revision:
            _compiled[made.pk] = made


def compiled(row: Schema) -> Compiled:
    """Compile a row with its metrics."""
    return Compiled(vocabulary(row), row.pk, row.revision)


def vocabulary(row: Schema) -> Vocabulary:
    """What a row says."""
    return Vocabulary(tuple(_spec(metric) for metric in row.metrics.all()), row.open)


def _spec(row: Metric) -> MetricSpec:
    bounds = (row.minimum, row.maximum) if row.kind in RANGED else (None, None)  # of anything else they mean nothing
    return MetricSpec(row.name, row.kind, row.label, row.unit, *bounds, row.required)
