"""What the live page of a campaign shows: always the same few queries, however many devices it has."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Page
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from devices.admin.base import CappedPaginator
from devices.badges import badge
from firmware import stopping
from firmware.admin.campaign_acts import possible
from firmware.admin.campaign_standing import Standing, shown_stages, standing
from firmware.admin.gauges import decided, shown_gauges
from firmware.admin.updates import state_badge, state_label, waits
from firmware.models import Campaign, Update, Verdict
from firmware.querysets import FAILED
from firmware.reporting import TAKEN_BACK
from firmware.states import ACTIVE, UNDER_WAY, CampaignState, UpdateState, Waiting

PER_PAGE = 50
SHOWN_VERDICTS = 30
_LONGEST = 100
_TONES = {
    "roll_back": "bad",
    "pause": "warning",
    "alert": "warning",
    "abort": "warning",
    "complete": "good",
    "reject": "warning",
}
_PAUSES = {
    "operator": "somebody paused it",
    "error_rate": "too many failed",
    "offline_rate": "too many stayed silent after their reboot",
    "burn_rate": "devices failed too fast lately",
    "reject_rate": "too many refused it",
    "no_evidence": "nobody has succeeded yet",
}
_STATES, _WAITINGS = frozenset(map(str, UpdateState)), frozenset(map(str, Waiting))
_GROUPS: dict[str, tuple[str, Q]] = {
    "failures": ("All failures", FAILED),
    "taken_back": ("Taken back", Q(reason_code=TAKEN_BACK) & ~Q(state__in=ACTIVE)),
    "moving": ("All under way", Q(state__in=ACTIVE, offered_at__isnull=False)),
    "planned": ("Planned", Q(state=UpdateState.QUEUED, offered_at__isnull=True)),
    "attention": ("Need attention", Q(needs_attention=True)),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A device in the table."""

    update: Update
    badge: str
    waits: str


@dataclass(frozen=True, slots=True)
class Devices:
    """A page of the device table, and how it was narrowed."""

    page: Page[Update]
    rows: list[Row]
    states: list[tuple[str, str]]
    waitings: list[tuple[str, str]]
    stages: list[int]
    chosen: dict[str, str]

    @property
    def query(self) -> str:
        """The filter as the end of an address, without the page."""
        return urlencode({name: value for name, value in self.chosen.items() if value})


def live_context(request: HttpRequest, campaign: Campaign) -> dict[str, Any]:
    """Everything of the fragment; the page around it adds nothing that moves."""
    now, counted = timezone.now(), standing(campaign)
    child: Campaign | None = getattr(campaign, "rollback", None)
    stages = list(campaign.stages.order_by("number"))
    return {
        "campaign": campaign,
        "original": campaign,
        "now": now,
        "badge": badge(campaign.state, campaign.get_state_display()),
        "why": why(campaign),
        "says": says(campaign, stages, counted),
        "standing": counted,
        "stages": shown_stages(campaign, stages, counted, now),
        "gauges": shown_gauges(campaign),
        "verdicts": told_verdicts(campaign, SHOWN_VERDICTS),
        "devices": devices(request, campaign, [stage.number for stage in stages]),
        "stop": stopping.in_force(),
        "acts": possible(request, campaign),
        "decided": decided(campaign) if campaign.state in UNDER_WAY else "",
        "counted_at": campaign.advanced_at,
        "child": child,
        "child_badge": child and badge(child.state, child.get_state_display()),
    }


def why(campaign: Campaign) -> str:
    """Why it is in this state, for people."""
    if campaign.state == CampaignState.PAUSED:
        told = _PAUSES.get(campaign.pause_reason, campaign.pause_reason)
        return f"{told[:1].upper()}{told[1:]}{': ' + campaign.state_reason if campaign.state_reason else '.'}"
    return campaign.state_reason


def says(campaign: Campaign, stages: list[Any], counted: Standing) -> str:
    """The state in one sentence: what a screen reader is told when it changes."""
    open_stage = next((stage for stage in stages if stage.state in ("rolling", "soaking")), None)
    where = f", stage {open_stage.number} of {len(stages)} {open_stage.state}" if open_stage else ""
    whole = counted.whole
    ends = [f"{whole.failed} failed"]
    ends += [f"{whole.rejected} refused"] if whole.rejected else []
    ends += [f"{whole.taken_back} taken back"] if whole.taken_back else []
    return f"{campaign.get_state_display()}{where}. {', '.join(ends)}."


def told_verdicts(campaign: Campaign, most: int) -> list[tuple[Verdict, str]]:
    """The newest decisions, each with its colour."""
    return [(verdict, _TONES.get(verdict.action, "info")) for verdict in campaign.verdicts.order_by("-pk")[:most]]


def devices(request: HttpRequest, campaign: Campaign, stages: list[int]) -> Devices:
    """The page of the table that the address asks for."""
    chosen = {
        name: request.GET.get(name, "")[:_LONGEST].replace("\x00", "") for name in ("q", "state", "waiting", "stage")
    }
    rows = _narrowed(campaign.updates.all(), chosen)
    paginator = CappedPaginator(rows.select_related("device__tenant").order_by("place", "pk"), PER_PAGE)
    page: Page[Update] = paginator.get_page(request.GET.get("p"))
    return Devices(
        page=page,
        rows=[Row(update, state_badge(update), waits(update)) for update in page.object_list],
        states=[
            *((name, label) for name, (label, _) in _GROUPS.items()),
            *((state.value, state_label(state)) for state in UpdateState),
        ],
        waitings=[(each.value, each.value.capitalize()) for each in Waiting if each],
        stages=stages,
        chosen=chosen,
    )


def _narrowed(rows: QuerySet[Update], chosen: dict[str, str]) -> QuerySet[Update]:
    state, word = chosen["state"], chosen["q"].strip()
    if state in _GROUPS:
        rows = rows.filter(_GROUPS[state][1])
    elif state in _STATES:
        rows = rows.filter(state=state)
    if chosen["waiting"] and chosen["waiting"] in _WAITINGS:
        rows = rows.filter(waiting=chosen["waiting"], state__in=ACTIVE)
    if chosen["stage"].isdecimal() and len(chosen["stage"]) < 5:
        rows = rows.filter(stage=int(chosen["stage"]))
    if word:
        named = Q(device__device_id=word) | Q(serial__istartswith=word) | Q(device__name__icontains=word)
        rows = rows.filter(named)
    return rows
