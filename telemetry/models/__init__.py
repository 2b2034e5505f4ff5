"""Rows about what devices say, one noun a file."""

from telemetry.models.deadletter import DeadLetter
from telemetry.models.reading import Latest, Reading
from telemetry.models.schema import Metric, Schema

__all__ = ["DeadLetter", "Latest", "Metric", "Reading", "Schema"]
