"""The staff's pages of this room, one subject a file."""

from telemetry.admin import archive, deadletters, jobs, readings, retention, schemas

__all__ = ["archive", "deadletters", "jobs", "readings", "retention", "schemas"]
