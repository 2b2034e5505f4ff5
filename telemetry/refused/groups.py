"""Dead letters by what was wrong and who sent them: what the staff looks at first."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Max, Min, Sum

from telemetry.models import DeadLetter
from telemetry.refused.selections import Selection

PAGE = 50
"""Groups on a page."""
BY = {"device": "By device", "type": "By device type"}
"""Ways to group: of each reason, a group for each device or for each device type."""
_KEYS = {"device": "device", "type": "device__device_type"}


@dataclass(frozen=True, slots=True)
class Group:
    """Letters of one reason of one device, or of all devices of a type."""

    reason: str
    whose: int | None
    """Row of the device or device type; None: nobody known."""
    letters: int
    times: int
    """How often they came, repetitions counted."""
    first: datetime
    last: datetime
    sample: DeadLetter
    """The newest of them, with its device and all that names it, without its payload."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some groups; `more` where there are more behind them."""

    groups: list[Group]
    more: bool


def page(selection: Selection, by: str = "device", number: int = 1) -> Page:
    """A page of groups, the one heard last first: two queries, however many letters there are."""
    key = _KEYS[by]
    counted = (
        selection.rows()
        .order_by()
        .values("reason", whose=F(key))
        .annotate(
            letters=Count("pk"), times=Sum("count"), first=Min("first_received_at"), last=Max("received_at"),
            newest=Max("pk"),
        )
        .order_by("-last", "reason", "whose")
    )  # fmt: skip
    start = (number - 1) * PAGE
    rows: list[Any] = list(counted[start : start + PAGE + 1])
    samples = (
        DeadLetter.objects.filter(pk__in=[row["newest"] for row in rows])
        .select_related("device__tenant", "device__device_type")
        .defer("payload")
        .in_bulk()
    )
    groups = [
        Group(
            row["reason"], row["whose"], row["letters"], row["times"], row["first"], row["last"],
            samples[row["newest"]],
        )
        for row in rows[:PAGE]
        if row["newest"] in samples
    ]  # fmt: skip
    return Page(groups, len(rows) > PAGE)
