"""Writing evidence: what everybody records, at the bottom of the house."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import structlog
from django.db import connection
from django.utils import timezone

from devices.auditing import Found
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
    return Event.objects.create(
        kind=kind,
        device=device,
        tenant=tenant or (device.tenant if device else None),
        user=user if user is not None and user.pk else None,
        actor=(str(user) if user is not None else actor)[:100],
        reason=reason[:500],
        detail=detail or {},
        at=at or timezone.now(),
        correlation_id=_correlation_id(),
    )


def told_by(kind: str, device_pk: int, tenant_pk: int, device_id: str, detail: dict[str, Any], at: datetime) -> Event:
    """An event that a device itself told of, not saved yet: a batch saves all of its own at once."""
    return Event(
        kind=kind,
        device_id=device_pk,
        tenant_id=tenant_pk,
        actor=device_id,
        detail=detail,
        at=at,
        correlation_id=_correlation_id(),
    )


def _correlation_id() -> str:
    context = structlog.contextvars.get_contextvars()
    return str(context.get("request_id") or context.get("correlation_id") or "")[:100]


SUPPRESSED = """
    s.kind = f.kind AND (s.device_id IS NULL OR s.device_id = f.device_id)
    AND (s.subject = '' OR s.subject = f.subject) AND s.expires_at > now()
"""
"""SQL: does the suppression `s` keep the finding `f` quiet?"""
# The same order everywhere: two workers that raise the same findings wait for each other and do not deadlock.
_RAISE = f"""
    INSERT INTO devices_finding (kind, severity, device_id, subject, detail, count, first_seen_at, last_seen_at)
    SELECT f.kind, f.severity, f.device_id, f.subject, f.detail, f.count, now(), now()
      FROM unnest(%(kinds)s::text[], %(severities)s::text[], %(devices)s::int[], %(subjects)s::text[],
                  %(details)s::text[], %(counts)s::int[]) AS f (kind, severity, device_id, subject, detail, count)
     WHERE NOT EXISTS (SELECT FROM devices_suppression s WHERE {SUPPRESSED})
       AND (f.device_id IS NULL OR EXISTS (SELECT FROM devices_device d WHERE d.id = f.device_id))
     ORDER BY f.kind, f.device_id, f.subject
    ON CONFLICT (kind, device_id, subject) WHERE resolved_at IS NULL
    DO UPDATE SET count = devices_finding.count + excluded.count * %(again)s, last_seen_at = now(),
                  severity = excluded.severity, detail = excluded.detail
    RETURNING xmax = 0
"""  # noqa: S608 (made of constants only)


def find(
    kind: str,
    detail: str,
    *,
    device_pk: int | None = None,
    subject: str = "",
    severity: str = Finding.Severity.WARNING,
    count: int = 1,
) -> None:
    """Raise a finding, or count the open one of the same kind, device and subject up. Not while it is suppressed."""
    find_all([Found(kind, detail, severity, device_pk, subject, count)], again=1)


def find_all(found: Iterable[Found], *, again: int = 0) -> int:
    """Raise findings in one statement; those that are open already are seen again, and count up if `again` is 1.

    It is 0 for what an audit sees, as that is the same thing still. No two may have the same kind, device and subject.
    What is about a device that was deleted meanwhile is left out. Returns how many are new.
    """
    rows = list(found)
    with connection.cursor() as cursor:
        cursor.execute(
            _RAISE,
            {
                "kinds": [row.kind for row in rows],
                "severities": [str(row.severity) for row in rows],
                "devices": [row.device_pk for row in rows],
                "subjects": [row.subject[:200] for row in rows],
                "details": [row.detail[:500] for row in rows],
                "counts": [row.count for row in rows],
                "again": again,
            },
        )
        return sum(new for (new,) in cursor.fetchall())
