"""A row of every kind that telemetry keeps beside readings, for tests that look at every model or page."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import storages

from devices.models import Device
from telemetry.models import ArchivedDay, Export, Hour, Minute, Replay, Retention, Schema, Touched


def figures(device: Device, schema: Schema, start: datetime, value: float = 4.5) -> dict[str, Any]:
    """One reading's figures, for `Minute` and `Hour`."""
    same = [value, None, None]
    arrays = {"lows": same, "highs": same, "sums": same, "lasts": same}
    return {"device": device, "schema": schema, "start": start, "readings": 1, "counts": [1, 0, 0], **arrays}


def add_all(device: Device, schema: Schema, now: datetime, text: str = "x") -> None:
    """One of each."""
    minute = now.replace(second=0, microsecond=0)
    Minute.objects.create(**figures(device, schema, minute))
    Hour.objects.create(**figures(device, schema, minute.replace(minute=0)))
    Touched.objects.create(grain="minute", devices=[device.pk], buckets=[int(minute.timestamp() // 60)])
    path = storages["exports"].save(f"{uuid.uuid4()}.csv", ContentFile(b"device_id\r\n"))
    told = {"tenant": device.tenant, "since": now - timedelta(hours=1), "until": now, "error": text}
    export = Export.objects.create(state="done", path=path, size=11, expires_at=now + timedelta(days=1), **told)
    export.devices.add(device)
    Replay.objects.create(reason=text[:50], device=device, error=text)
    Retention.objects.create(tenant=device.tenant, device_type=device.device_type, days=30, reason=text)
    ArchivedDay.objects.create(
        day=now.date() - timedelta(days=500 + device.pk), path=f"{uuid.uuid4()}.parquet", rows=1, size=1, digest="d",
        file_digest="f", first_ts=now, last_ts=now, archived_at=now,
    )  # fmt: skip
