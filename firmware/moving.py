"""Rows of updates as facts and back again, and how many of them are written in one statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from firmware.models import Update
from firmware.reporting import Facts
from firmware.states import ACTIVE, UNDER_WAY, CampaignState, UpdateState

MOVED = (
    "state", "waiting", "reason_code", "detail", "seq", "progress", "installing_boot_id", "boot_id",
    "installing_at", "rebooting_at", "checked_at", "ended_at", "changed_at",
)  # fmt: skip
"""Columns that a report, a birth or an end may change."""

OUR_REASONS = ("superseded", "aborted", "rolled_back", "campaign_ended")
"""Why the portal cancels an update; with any other reason the device gave it up."""


def facts(row: Update, target: str, campaign_state: str, *, led_back: bool = False) -> Facts:
    """What a row says. `target`: the version of its release."""
    return Facts(
        state=UpdateState(row.state),
        attempt=row.attempt,
        target=target,
        origin=row.from_version,
        seq=row.seq,
        waiting=row.waiting,
        reason_code=row.reason_code,
        progress=row.progress,
        offered_boot=row.offered_boot_id,
        installing_boot=row.installing_boot_id,
        boot=row.boot_id,
        installing=row.installing_at is not None,
        rebooting=row.rebooting_at is not None,
        checked=row.checked_at is not None,
        watched=CampaignState(campaign_state) in UNDER_WAY,
        led_back=led_back,
    )


def put(row: Update, new: Facts, now: datetime) -> None:
    """Make a row say it (not saved). A moment is noted when its fact is first known, and an end when it is reached."""
    moved = row.state != new.state
    if moved or row.seq != new.seq:
        row.changed_at = now
    if moved:
        row.detail = ""
        row.ended_at = None if new.state in ACTIVE else now
    row.state, row.seq, row.waiting, row.reason_code = new.state, new.seq, new.waiting, new.reason_code
    row.progress, row.installing_boot_id, row.boot_id = new.progress, new.installing_boot, new.boot
    row.installing_at = row.installing_at or (now if new.installing else None)
    row.rebooting_at = row.rebooting_at or (now if new.rebooting else None)
    row.checked_at = row.checked_at or (now if new.checked else None)


def end(row: Update, state: UpdateState, reason_code: str, detail: str, now: datetime) -> None:
    """End a row by the portal's word (not saved)."""
    row.state, row.reason_code, row.detail, row.waiting = state, reason_code, detail[:200], ""
    row.ended_at = row.changed_at = now


def write(rows: Sequence[Update], columns: Sequence[str] = MOVED) -> None:
    """Write these columns of rows that are locked: one statement, however many there are."""
    if not rows:
        return
    fields: list[Any] = [Update._meta.get_field(name) for name in ("id", *columns)]
    names = [field.column for field in fields]
    values = {field.column: [_plain(getattr(row, field.attname)) for row in rows] for field in fields}
    arrays = ", ".join(f"%({field.column})s::{_array(field)}" for field in fields)
    sets = ", ".join(f"{name} = new.{name}" for name in names[1:])
    with connection.cursor() as cursor:
        cursor.execute(
            # Made of the names of our own columns only.
            f"UPDATE firmware_update u SET {sets} FROM unnest({arrays}) AS new ({', '.join(names)})"  # noqa: S608
            " WHERE u.id = new.id",
            values,
        )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value  # a StrEnum would be written by its name


def _array(field: Any) -> str:
    kind = field.db_type(connection)
    return "text[]" if kind.startswith("varchar") else f"{kind.split(' CHECK')[0]}[]"
