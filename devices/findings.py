"""The life of a finding after it was raised: seen again by its audit, resolved, suppressed for a while."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from devices import evidence
from devices.auditing import Found
from devices.errors import DeviceError
from devices.models import Device, Event, Finding, Suppression

LONGEST_SUPPRESSION = timedelta(days=365)
AUDIT = "audit"
"""Who is said in the evidence to have resolved what is no longer true."""

# coalesce: a join on IS NOT DISTINCT FROM would compare every finding with every row.
_RESOLVE = """
    UPDATE devices_finding AS f SET resolved_at = now()
     WHERE f.kind = ANY(%(owned)s) AND f.resolved_at IS NULL AND (%(all)s OR f.subject = ANY(%(scope)s))
       AND NOT EXISTS (
           SELECT FROM unnest(%(kinds)s::text[], %(devices)s::int[], %(subjects)s::text[])
                    AS x (kind, device_id, subject)
            WHERE x.kind = f.kind AND coalesce(x.device_id, 0) = coalesce(f.device_id, 0) AND x.subject = f.subject)
    RETURNING f.kind, f.device_id, f.subject, ''
"""
_OVER = """
    UPDATE devices_finding AS f SET resolved_at = now()
      FROM (SELECT id FROM devices_finding
              JOIN unnest(%(kinds)s::text[], %(devices)s::int[]) AS x (kind, device_id) USING (kind, device_id)
             WHERE resolved_at IS NULL ORDER BY kind, device_id, subject FOR UPDATE OF devices_finding) AS locked
     WHERE f.id = locked.id
    RETURNING f.kind, f.device_id, f.subject, ''
"""
_EXPIRE = """
    UPDATE devices_finding AS f SET resolved_at = now()
     WHERE f.kind = ANY(%(owned)s) AND f.resolved_at IS NULL AND f.last_seen_at < %(before)s
    RETURNING f.kind, f.device_id, f.subject, 'Not seen again since ' || to_char(f.last_seen_at, 'YYYY-MM-DD HH24:MI')
"""
_CLOSE_SUPPRESSED = f"""
    UPDATE devices_finding AS f SET resolved_at = now()
      FROM devices_suppression AS s WHERE f.resolved_at IS NULL AND {evidence.SUPPRESSED}
    RETURNING f.kind, f.device_id, f.subject,
              'Suppressed until ' || to_char(s.expires_at, 'YYYY-MM-DD') || ': ' || s.reason
"""  # noqa: S608 (made of constants only)


def observe(kinds: Sequence[str], found: Iterable[Found], *, subjects: list[str] | None = None) -> tuple[int, int]:
    """Make the findings of these kinds say what is true now: `found`, and nothing else of these kinds.

    `subjects` bounds it to findings about these. What is still true does not count up: an audit asks hourly, and that
    is no news. Returns how many were opened and resolved.
    """
    rows = list(found)
    asked = {
        "owned": list(kinds),
        "all": subjects is None,
        "scope": subjects or [],
        "kinds": [row.kind for row in rows],
        "devices": [row.device_pk for row in rows],
        "subjects": [row.subject[:200] for row in rows],
    }
    with transaction.atomic():
        return evidence.find_all(rows), _close(_RESOLVE, asked)


def over(those: Iterable[tuple[str, int]]) -> int:
    """Resolve the open findings of these kinds and devices (pks): they are no longer true. Returns how many."""
    pairs = list(those)
    with transaction.atomic():
        return _close(_OVER, {"kinds": [kind for kind, _ in pairs], "devices": [device for _, device in pairs]})


def expire(kinds: Sequence[str], before: datetime) -> int:
    """Resolve findings of these kinds that nobody has seen since. Returns how many.

    For what is raised where it happens, and is over when it has not happened for a while: no audit sees it.
    """
    with transaction.atomic():
        return _close(_EXPIRE, {"owned": list(kinds), "before": before})


def _close(sql: str, asked: dict[str, Any]) -> int:
    """Resolve by a statement that returns kind, device, subject and reason, and record each."""
    with connection.cursor() as cursor:
        cursor.execute(sql, asked)
        closed = cursor.fetchall()
    devices = Device.objects.filter(pk__in={row[1] for row in closed}) if closed else Device.objects.none()
    tenants = dict(devices.values_list("pk", "tenant_id"))
    now = timezone.now()
    Event.objects.bulk_create(
        [
            Event(
                kind="finding.resolved",
                at=now,
                device_id=device,
                tenant_id=tenants.get(device),
                actor=AUDIT,
                reason=reason or "No longer true.",
                detail={"kind": kind, "subject": subject},
            )
            for kind, device, subject, reason in closed
        ],
        batch_size=1000,
    )
    return len(closed)


def resolve(finding: Finding, reason: str, user: Any, now: datetime) -> bool:
    """Somebody dealt with it; if it happens again, a new one opens. False when it was resolved before."""
    with transaction.atomic():
        changed = Finding.objects.filter(pk=finding.pk, resolved_at__isnull=True).update(resolved_at=now)
        if changed:
            detail = {"kind": finding.kind, "subject": finding.subject}
            evidence.record("finding.resolved", device=finding.device, user=user, reason=reason, detail=detail)
    return bool(changed)


def check_until(until: datetime, now: datetime) -> None:
    """Refuse an end of a suppression that is past or too far away. Raises `DeviceError` (suppression_end, 422)."""
    if not now < until <= now + LONGEST_SUPPRESSION:
        days = LONGEST_SUPPRESSION.days
        raise DeviceError(f"A suppression ends in the future, at most {days} days from now.", "suppression_end", 422)


def suppress(
    kind: str, *, device: Device | None, subject: str, reason: str, until: datetime, user: Any, now: datetime
) -> Suppression:
    """Keep a kind of finding quiet until then: of this device or of every one, about this subject or any (empty).

    What is open is closed; once it ends, the next audit raises again what is true then. Raises `DeviceError`:
    suppression_end (422), suppression_reason (422).
    """
    check_until(until, now)
    if not reason.strip():
        raise DeviceError("Say why: it becomes evidence.", "suppression_reason", 422)
    with transaction.atomic():
        row = Suppression.objects.create(
            kind=kind, device=device, subject=subject, reason=reason, expires_at=until, created_by=user
        )
        detail = {"kind": kind, "subject": subject, "until": until.isoformat()}
        evidence.record("finding.suppressed", device=device, user=user, reason=reason, detail=detail)
        close_suppressed()
    return row


def close_suppressed() -> int:
    """Close what is open though a suppression is in force. Returns how many.

    A finding that was raised while its suppression was being made slips through; the next run of the audits closes it.
    """
    with transaction.atomic():
        return _close(_CLOSE_SUPPRESSED, {})


def end(suppression: Suppression, reason: str, user: Any, now: datetime) -> bool:
    """End a suppression before its time. False when it had ended."""
    with transaction.atomic():
        changed = Suppression.objects.filter(pk=suppression.pk, expires_at__gt=now).update(expires_at=now)
        if changed:
            detail = {"kind": suppression.kind, "subject": suppression.subject}
            evidence.record("suppression.ended", device=suppression.device, user=user, reason=reason, detail=detail)
    return bool(changed)
