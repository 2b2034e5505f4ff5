"""Keeping what was refused, so that nothing is lost and somebody can see why."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Q, QuerySet, Sum

from devices.contract import MAX_PAYLOAD_BYTES
from devices.registry import Refused
from telemetry.models import DeadLetter

HOURLY = 200
"""Different dead letters kept of a device in an hour."""
TOO_MANY = "too_many_refused"
"""Reason of the letter on which the others of that hour are counted; a budget's is `flood`."""
PURGED = 10_000
"""Most letters deleted in one transaction."""

_KEEP = """
    INSERT INTO telemetry_deadletter
        (digest, topic, payload, size, reason, detail, path, device_id, count, first_received_at, received_at)
    VALUES (%(digest)s, %(topic)s, %(payload)s, %(size)s, %(reason)s, %(detail)s, %(path)s, %(device)s, %(count)s,
            %(now)s, %(now)s)
    ON CONFLICT (digest) DO UPDATE
       SET count = telemetry_deadletter.count + excluded.count, received_at = excluded.received_at
"""

# A letter that is refused again for another reason has another digest; where that is known already, the two become one.
_MOVE = """
    INSERT INTO telemetry_deadletter
        (digest, topic, payload, size, reason, detail, path, device_id, count, first_received_at, received_at,
         replayed_at)
    VALUES (%(digest)s, %(topic)s, %(payload)s, %(size)s, %(reason)s, %(detail)s, %(path)s, %(device)s, %(count)s,
            %(first)s, %(last)s, %(now)s)
    ON CONFLICT (digest) DO UPDATE
       SET count = telemetry_deadletter.count + CASE telemetry_deadletter.id WHEN %(letter)s THEN 0 ELSE %(count)s END,
           first_received_at = least(telemetry_deadletter.first_received_at, excluded.first_received_at),
           received_at = greatest(telemetry_deadletter.received_at, excluded.received_at),
           detail = excluded.detail, path = excluded.path, replayed_at = excluded.replayed_at
"""


def keep(refused: Iterable[Refused], now: datetime) -> None:
    """Keep refused messages, in digest order so that two workers cannot deadlock."""
    letters: dict[str, dict[str, Any]] = {}
    for item in refused:
        row = _row(item)
        known = letters.setdefault(row["digest"], row | {"count": 0, "now": now})
        known["count"] += 1
    if letters:
        kept = _within_bounds(letters, now)
        with connection.cursor() as cursor:
            cursor.executemany(_KEEP, [kept[digest] for digest in sorted(kept)])


def _row(item: Refused) -> dict[str, Any]:
    """What its columns hold, in texts that no column refuses."""
    topic, payload = _text(item.message.topic, 500), item.message.payload
    return {
        "digest": hashlib.sha256(b"\0".join((topic.encode(), payload, item.reason.encode()))).hexdigest(),
        "topic": topic,
        "payload": payload[:MAX_PAYLOAD_BYTES],
        "size": len(payload),
        "reason": item.reason[:50],
        "detail": _text(item.detail, 500),
        "path": _text(item.path, 200),
        "device": item.device_pk,
    }


def _text(text: str, most: int) -> str:
    """Without NUL and half characters."""
    return text[:most].replace("\0", "�").encode(errors="replace").decode()


def _within_bounds(letters: dict[str, dict[str, Any]], now: datetime) -> dict[str, dict[str, Any]]:
    """Count what a device sends beyond `HOURLY` different letters an hour on one letter: no device fills the disk.

    Letters of no known device are bounded together, as if it were one.
    """
    devices = {letter["device"] for letter in letters.values()}
    whose = Q(device_id__in=devices - {None}) | (Q(device=None) if None in devices else Q())
    recent = DeadLetter.objects.filter(whose, received_at__gt=now - timedelta(hours=1))
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
        flood = kept.setdefault(one, letter | {"digest": one, "reason": TOO_MANY, "detail": detail, "count": 0})
        flood["count"] += letter["count"]
    return kept


def settle(tried: Sequence[tuple[DeadLetter, list[Refused]]], now: datetime) -> None:
    """What became of letters that were tried again: each with what was refused of it, nothing where all was taken.

    A letter that was taken is deleted. One that was refused again keeps its count and says why; of an array, what was
    refused becomes letters of their own. Call it in the transaction that stores the readings, the letters locked.
    """
    moved: list[dict[str, Any]] = []
    gone: list[int] = []
    for letter, refused in tried:
        parts = {row["digest"]: row for row in map(_row, refused)}
        first, last = letter.first_received_at, letter.received_at
        told = {"letter": letter.pk, "count": letter.count, "first": first, "last": last, "now": now}
        moved += [row | told | {"device": row["device"] or letter.device_id} for row in parts.values()]
        if letter.digest not in parts:
            gone.append(letter.pk)
    DeadLetter.objects.filter(pk__in=gone).delete()
    if moved:
        with connection.cursor() as cursor:
            ordered = sorted(moved, key=lambda row: str(row["digest"]))
            cursor.executemany(_MOVE, ordered)


def purge(now: datetime) -> int:
    """Delete letters not seen again for DEAD_LETTER_DAYS, in batches. Returns how many."""
    return delete(DeadLetter.objects.filter(received_at__lt=now - timedelta(days=settings.DEAD_LETTER_DAYS)))


def only_counted(rows: QuerySet[DeadLetter]) -> int:
    """Messages that these letters stand for and that were not kept: of a flood there is one sample a day."""
    told = rows.filter(reason="flood").aggregate(times=Sum("count"), letters=Count("pk"))
    return int(told["times"] or 0) - int(told["letters"])


def delete(rows: QuerySet[DeadLetter]) -> int:
    """Delete these letters in batches, each a transaction of its own. Leaves alone those that a replay holds now."""
    deleted = 0
    while True:
        with transaction.atomic():
            batch = rows.order_by("received_at").select_for_update(of=("self",), skip_locked=True).values("pk")[:PURGED]
            found = DeadLetter.objects.filter(pk__in=[row["pk"] for row in batch]).delete()[0]
        deleted += found
        if found < PURGED:
            return deleted
