"""Keeping what was refused, so that nothing is lost and somebody can see why."""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count

from devices.contract import MAX_PAYLOAD_BYTES
from devices.registry import Refused
from telemetry.models import DeadLetter

HOURLY = 200
"""Different dead letters kept of a device in an hour."""
PURGED = 10_000

_KEEP = """
    INSERT INTO telemetry_deadletter
        (digest, topic, payload, size, reason, detail, path, device_id, count, first_received_at, received_at)
    VALUES (%(digest)s, %(topic)s, %(payload)s, %(size)s, %(reason)s, %(detail)s, %(path)s, %(device)s, %(count)s,
            %(now)s, %(now)s)
    ON CONFLICT (digest) DO UPDATE
       SET count = telemetry_deadletter.count + excluded.count, received_at = excluded.received_at
"""


def keep(refused: Iterable[Refused], now: datetime) -> None:
    """Keep refused messages, in digest order so that two workers cannot deadlock."""
    letters: dict[str, dict[str, Any]] = {}
    for item in refused:
        message = item.message
        topic = message.topic.replace("\0", "�")[:500]
        digest = hashlib.sha256(b"\0".join((topic.encode(), message.payload, item.reason.encode()))).hexdigest()
        if digest in letters:
            letters[digest]["count"] += 1
            continue
        letters[digest] = {
            "digest": digest,
            "topic": topic,
            "payload": message.payload[:MAX_PAYLOAD_BYTES],
            "size": len(message.payload),
            "reason": item.reason[:50],
            "detail": item.detail.replace("\0", "�")[:500],
            "path": item.path.replace("\0", "�")[:200],
            "device": item.device_pk,
            "count": 1,
            "now": now,
        }
    if letters:
        kept = _within_bounds(letters, now)
        with connection.cursor() as cursor:
            cursor.executemany(_KEEP, [kept[digest] for digest in sorted(kept)])


def _within_bounds(letters: dict[str, dict[str, Any]], now: datetime) -> dict[str, dict[str, Any]]:
    """Count what a device sends beyond `HOURLY` different letters an hour on one letter: no device fills the disk."""
    devices = {letter["device"] for letter in letters.values()}
    recent = DeadLetter.objects.filter(received_at__gt=now - timedelta(hours=1), device_id__in=devices - {None})
    room = dict.fromkeys(devices, HOURLY)
    for device, count in recent.values_list("device_id").annotate(count=Count("pk")):
        room[device] -= count
    kept: dict[str, dict[str, Any]] = {}
    for digest, letter in letters.items():
        room[letter["device"]] -= 1
        if room[letter["device"]] >= 0:
            kept[digest] = letter
            continue
        one = hashlib.sha256(f"flood of {letter['device']} in {now:%Y-%m-%d}".encode()).hexdigest()
        detail = f"more than {HOURLY} different ones in an hour; this is a sample, of reason {letter['reason']}"
        flood = kept.setdefault(one, letter | {"digest": one, "reason": "flood", "detail": detail, "count": 0})
        flood["count"] += letter["count"]
    return kept


def purge(now: datetime) -> int:
    """Delete letters not seen again for DEAD_LETTER_DAYS, some thousand at a time. Returns how many."""
    before = now - timedelta(days=settings.DEAD_LETTER_DAYS)
    old = DeadLetter.objects.filter(received_at__lt=before).order_by("received_at").values("pk")[:PURGED]
    return DeadLetter.objects.filter(pk__in=old).delete()[0]
