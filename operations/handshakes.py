"""Connections the broker let in and refused, counted from its log. The MQTT porter of this room.

Kept by the minute in a table: a worker that dies loses the lines it had not stored, a second at most.
"""

from collections import Counter
from datetime import datetime, timedelta
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.db import connection
from django.db.models import Sum

from devices.registry import Incoming
from operations.broker_log import ACCEPTED, REFUSED, verdict
from operations.models import ConnectionMinute

WINDOW = timedelta(minutes=5)
KEPT = timedelta(days=90)

_COUNT = """
    INSERT INTO operations_connectionminute (minute, accepted, refused)
    VALUES (date_trunc('minute', %s::timestamptz), %s, %s)
    ON CONFLICT (minute) DO UPDATE SET accepted = operations_connectionminute.accepted + excluded.accepted,
                                       refused = operations_connectionminute.refused + excluded.refused
"""


def count(lines: list[Incoming], now: datetime) -> dict[str, int]:
    """Count a batch of log lines. Returns how many connections were accepted and refused."""
    portal = unquote(urlsplit(settings.MQTT_URL).username or "")
    told = Counter(verdict(line.payload.decode("utf-8", "replace"), portal) for line in lines)
    counted = {word: told[word] for word in (ACCEPTED, REFUSED)}
    if any(counted.values()):
        with connection.cursor() as cursor:
            cursor.execute(_COUNT, [now, counted[ACCEPTED], counted[REFUSED]])
    return counted


def recent(now: datetime) -> tuple[int, int]:
    """Refused and accepted connections of the last `WINDOW`, and of the minute that has just begun."""
    rows = ConnectionMinute.objects.filter(minute__gt=now - WINDOW - timedelta(minutes=1), minute__lte=now)
    sums = rows.aggregate(refused=Sum("refused"), accepted=Sum("accepted"))
    return sums["refused"] or 0, sums["accepted"] or 0


def purge(now: datetime) -> int:
    """Forget minutes older than `KEPT`. Returns how many."""
    return ConnectionMinute.objects.filter(minute__lt=now - KEPT).delete()[0]
