"""Rows about what devices say, one noun a file."""

from telemetry.models.archive import ArchivedDay, Retention
from telemetry.models.deadletter import DeadLetter
from telemetry.models.job import Export, Job, Replay
from telemetry.models.reading import Latest, Reading
from telemetry.models.rollup import Hour, Minute, Rollup, Touched
from telemetry.models.schema import Metric, Schema

__all__ = [
    "ArchivedDay",
    "DeadLetter",
    "Export",
    "Hour",
    "Job",
    "Latest",
    "Metric",
    "Minute",
    "Reading",
    "Replay",
    "Retention",
    "Rollup",
    "Schema",
    "Touched",
]
