"""Telling browsers that a campaign moved: a nudge, at most once a second a campaign; the page then asks."""

from collections.abc import Iterable

import redis
import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.core.cache import cache

log = structlog.get_logger(__name__)

PUSH_SECONDS = 1
"""What moves within this time after a nudge is part of it: a page waits as long before it asks."""


def group(campaign_pk: int) -> str:
    """Channel-layer group of a campaign's watchers."""
    return f"campaign.{campaign_pk}"


def push(campaign_pks: Iterable[int]) -> None:
    """Tell the watchers of these. Raises nothing: who is not told asks, and nobody's work ends for a page's sake."""
    try:
        due = [pk for pk in sorted(set(campaign_pks)) if cache.add(f"live.campaign.{pk}", 1, timeout=PUSH_SECONDS)]
        if due:
            async_to_sync(_send)(due)
    except (redis.RedisError, OSError) as error:
        log.warning("push_failed", error=str(error))
    except Exception:
        log.exception("push_failed")


async def _send(campaign_pks: list[int]) -> None:
    layer = get_channel_layer()
    for pk in campaign_pks:
        await layer.group_send(group(pk), {"type": "campaign.changed", "campaign": pk})
