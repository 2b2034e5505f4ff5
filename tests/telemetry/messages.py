"""Messages as devices send them."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from devices.contract import Topic
from devices.models import Device
from devices.registry import Incoming
from telemetry.store import Row


def topic(device: Device, channel: str = "telemetry", child: str = "") -> str:
    return str(Topic(device.tenant.slug, device.device_type.slug, device.device_id, channel, child))


def envelope(**changes: Any) -> dict[str, Any]:
    return {
        "msg_id": str(uuid.uuid4()),
        "ts": timezone.now().isoformat(timespec="milliseconds"),
        "schema_version": 1,
        "values": {"temperature_c": 4.5},
    } | changes


def message(device: Device, *envelopes: dict[str, Any], qos: int = 1, child: str = "") -> Incoming:
    body = envelopes[0] if len(envelopes) == 1 else list(envelopes)
    return Incoming(topic(device, child=child), json.dumps(body).encode(), qos)


def row(device: Device, schema: Any, ts: datetime | None = None, value: float | None = 4.5, **changes: Any) -> Row:
    now = timezone.now()
    fields = {"msg_id": uuid.uuid4(), "received_at": now, "metrics": [value, None, None], "extra": None, "flags": 0}
    return Row(device_pk=device.pk, ts=ts or now, schema_pk=schema.pk, **fields | changes)


def noon() -> datetime:
    """Noon of today (UTC): no second of a test lies on another day."""
    return datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
