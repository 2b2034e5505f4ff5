"""What a campaign came to: counts by state and reason, and every device as a line of CSV."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Count
from django.http import HttpRequest, StreamingHttpResponse

from devices.admin.tables import safe, text_of
from devices.badges import badge
from firmware.admin.campaign_live import told_verdicts
from firmware.admin.campaign_plan import rules, whom
from firmware.admin.campaign_standing import count, segments, stage_badge
from firmware.admin.plain_fields import say_duration
from firmware.admin.updates import state_label
from firmware.models import Campaign, Update

_CHUNK = 500
"""Devices read at once: the memory a report needs."""
_VERDICTS = 200
COLUMNS = [
    "device id", "serial", "tenant", "site", "stage", "state", "reason", "attempts", "from", "to",
    "offered_at", "ended_at", "duration (s)",
]  # fmt: skip


def report_context(campaign: Campaign) -> dict[str, Any]:
    """The page of the report."""
    counted = count(campaign)
    took = campaign.ended_at - campaign.started_at if campaign.ended_at and campaign.started_at else None
    return {
        "campaign": campaign,
        "badge": badge(campaign.state, campaign.get_state_display()),
        "standing": counted,
        "segments": segments(counted.whole),
        "reasons": _reasons(campaign),
        "verdicts": told_verdicts(campaign, _VERDICTS),
        "duration": took and say_duration(took),
        "whom": whom(campaign),
        "rules": rules(campaign),
        "stages": [{"row": row, "badge": stage_badge(campaign, row)} for row in campaign.stages.order_by("number")],
    }


def _reasons(campaign: Campaign) -> list[dict[str, Any]]:
    """How many ended how, and why; the most first."""
    rows = campaign.updates.order_by().values("state", "reason_code").annotate(number=Count("pk"))
    found = sorted(rows, key=lambda row: (-row["number"], row["state"], row["reason_code"]))
    return [row | {"badge": badge(row["state"], state_label(row["state"], row["reason_code"]))} for row in found]


def csv_file(request: HttpRequest, campaign: Campaign) -> StreamingHttpResponse:
    """Every device, streamed: memory is that of one chunk, and no query holds the database for long."""
    # An iterator of the other kind would be read to its end before the first byte is sent.
    lines = _told_async(campaign.pk) if isinstance(request, ASGIRequest) else _told(campaign.pk)
    headers = {"Content-Disposition": f'attachment; filename="campaign-{campaign.pk}.csv"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


def _told(campaign_pk: int) -> Iterator[str]:
    text, after = text_of([COLUMNS]), 0
    while text:
        yield text
        text, after = _chunk(campaign_pk, after)


async def _told_async(campaign_pk: int) -> AsyncIterator[str]:
    text, after = text_of([COLUMNS]), 0
    while text:
        yield text
        text, after = await sync_to_async(_chunk)(campaign_pk, after)


def _chunk(campaign_pk: int, after: int) -> tuple[str, int]:
    """The next lines, and where to go on; no text at the end."""
    rows = Update.objects.filter(campaign=campaign_pk, pk__gt=after).order_by("pk")
    parts = rows.select_related("device__tenant", "device__site", "release")[:_CHUNK]
    found = list(parts)
    return text_of([_line(row) for row in found]), found[-1].pk if found else after


def _line(update: Update) -> list[str]:
    device, ended = update.device, update.ended_at
    took = round((ended - update.offered_at).total_seconds()) if ended and update.offered_at else None
    told = [
        device.device_id, update.serial, device.tenant.name, device.site and device.site.name, update.stage,
        update.state, update.reason_code, update.attempt, update.from_version,
        update.release and update.release.version, _at(update.offered_at), _at(ended), took,
    ]  # fmt: skip
    return [safe(value) for value in told]


def _at(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""
