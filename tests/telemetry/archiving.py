"""Days that are archived in tests, each test in a storage of its own."""

from datetime import date
from pathlib import Path
from typing import Any

from devices.models import Device
from telemetry.tables import partitions
from tests.telemetry.days import OLD, put, reading


def own_storage(settings: Any, tmp_path: Path) -> Path:
    """A storage of its own for a test."""
    settings.HOT_DAYS = 400
    settings.WORK_DIRECTORY = tmp_path / "work"
    settings.STORAGES = settings.STORAGES | {
        "archive": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "archive")},
        }
    }
    return tmp_path / "archive"


def fill(device: Device, day: date = OLD, count: int = 3, **changes: Any) -> None:
    """A day with its readings."""
    partitions.make_day(day)
    schema = device.device_type.schemas.get()
    put([reading(device.pk, schema.pk, day, 3600.123456 * number, **changes) for number in range(count)])


def overwrite(file: Path, content: bytes) -> None:
    """Files of the archive cannot be written to; a hand that wants to does it so."""
    file.unlink()
    file.write_bytes(content)
