"""Writing evidence: what everybody records, at the bottom of the house."""

from datetime import datetime
from typing import Any

import structlog
from django.db import connection
from django.utils import timezone

from devices.models import Device, Event, Finding, Tenant


def record(
    kind: str,
    *,
    device: Device | None = None,
    tenant: Tenant | None = None,
    user: Any = None,
    actor: str = "portal",
    reason: str = "",
    detail: dict[str, Any] | None = None,
    at: datetime | None = None,
) -> Event:
    """Append an event. Call it inside the transaction of what it tells: both happen or neither does."""
    context = structlog.contextvars.get_contextvars()
    return Event.objects.create(
        kind=kind,
        device=device,
        tenant=tenant or (device.tenant if device else None),
        user=user if user is not None and user.pk else None,
        actor=(str(user) if user is not None else actor)[:100],
        reason=reason[:500],
        detail=detail or {},
        at=at or timezone.now(),
        correlation_id=str(context.get("request_id") or context.get("correlation_id") or "")[:100],
    )


_FIND = """
    INSERT INTO devices_finding (kind, severity, device_id, subject, detail, count, first_seen_at, last_seen_at)
    VALUES (%s, %s, %s, %s, %s, %s, now(), now())
    ON CONFLICT (kind, device_id, subject) WHERE resolved_at IS NULL
    DO UPDATE SET count = devices_finding.count + excluded.count, last_seen_at = now(), detail = excluded.detail
"""


def find(
    kind: str,
    detail: str,
    *,
    device_pk: int | None = None,
    subject: str = "",
    severity: str = Finding.Severity.WARNING,
    count: int = 1,
) -> None:
    """Raise a finding, or count the open one of the same kind, device and subject up."""
    with connection.cursor() as cursor:
        cursor.execute(_FIND, [kind, severity, device_pk, subject[:200], detail[:500], count])
