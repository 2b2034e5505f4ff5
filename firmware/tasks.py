"""Background work of this room: fetch, one call, retry policy. No worker waits for a device.

What moves campaigns is on the queue `rollout`, what tidies up on the usual one.
"""

from celery import shared_task
from django.conf import settings
from django.db.models import F
from django.utils import timezone

from firmware import advancing, artifacts, campaigns
from firmware.models import Campaign


@shared_task(name="firmware.tasks.sweep")
def sweep() -> int:
    """Start what is due, and have each campaign under way looked at. Returns how many those are.

    The one that waited longest comes first: where there is more to do than time, all get their turn.
    """
    campaigns.start_due(timezone.now())
    waiting = Campaign.objects.under_way().order_by(F("advanced_at").asc(nulls_first=True), "pk")
    pks = list(waiting.values_list("pk", flat=True))
    for pk in pks:
        # The next sweep asks again: what nobody did in time does not pile up.
        advance.apply_async((pk,), expires=settings.ROLLOUT_EVERY.total_seconds())
    return len(pks)


@shared_task(name="firmware.tasks.advance")
def advance(pk: int) -> str:
    """One step of one campaign; returns what was decided. Safe to run twice; the next sweep is its retry."""
    decision = advancing.advance(pk, timezone.now())
    return decision.action if decision else ""


@shared_task(name="firmware.tasks.tidy")
def tidy() -> int:
    """Daily: clear away what crashed uploads left in the store. Returns how many files."""
    return artifacts.sweep(timezone.now())
