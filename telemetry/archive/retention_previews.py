"""What a rule of retention would delete, told before somebody makes it one."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from django.db import OperationalError, connection, transaction
from django.db.models import Count

from telemetry.archive import retention
from telemetry.models import ArchivedDay, Retention
from telemetry.tables import trees

_PATIENCE = "3s"
_READINGS = "SELECT count(*), min(ts) FROM telemetry_reading WHERE ts < %s AND device_id = ANY(%s)"
_HOURS = (
    "SELECT coalesce(sum(readings), 0)::bigint, min(start) FROM telemetry_hour WHERE start < %s AND device_id = ANY(%s)"
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Devices of one tenant and type."""

    tenant: str
    device_type: str
    devices: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What the first run of a rule would delete."""

    first_kept: date
    readings: int | None
    """None: too many to count while somebody waits."""
    exact: bool
    """False: `readings` is what the figures of each hour say."""
    oldest: date | None
    fleets: list[Fleet]
    archived: list[ArchivedDay]
    """Days that left the database and may hold readings of these devices, the newest first: they are not rewritten."""

    @property
    def counted(self) -> str:
        """The readings, as people write a large number."""
        return f"{self.readings or 0:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")

    @property
    def devices(self) -> int:
        """Whose readings it is about."""
        return sum(fleet.devices for fleet in self.fleets)


def preview(rule: Retention, now: datetime) -> Preview:
    """Tell it of a rule that need not be saved. Takes a few seconds at most."""
    today = now.astimezone(UTC).date()
    before = retention.first_kept(rule, today)
    devices = retention.devices_of(rule)
    asked = [trees.midnight(before), list(devices.values_list("pk", flat=True))]
    exact = _ask(_READINGS, asked)
    count, oldest = exact or _ask(_HOURS, asked) or (None, None)
    fleets = devices.values_list("tenant__name", "device_type__name").annotate(count=Count("pk")).order_by("-count")
    return Preview(
        before, count, exact is not None, oldest and oldest.date(), [Fleet(*row) for row in fleets], _archived(rule)
    )


def _ask(sql: str, parameters: list[Any]) -> tuple[int, datetime | None] | None:
    """Count and first moment; None when that takes too long."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{_PATIENCE}'")
            cursor.execute(sql, parameters)
            count, first = cursor.fetchone()
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            return None
        raise
    return count, first


def _archived(rule: Retention) -> list[ArchivedDay]:
    days = ArchivedDay.objects.all()
    if rule.tenant_id:
        days = days.filter(tenants__contains=[rule.tenant_id])
    if rule.device_type_id:
        days = days.filter(device_types__contains=[rule.device_type_id])
    return list(days)
