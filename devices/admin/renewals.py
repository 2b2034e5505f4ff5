"""The staff's pages of renewals: how far the rotation is, and the dry run of what comes next."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Greatest, TruncDate
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString

from devices import renewals
from devices.admin.base import ReadOnlyAdmin, where_from
from devices.badges import badge, below, short, when
from devices.models import Device, Group, Renewal
from devices.tasks import rotate_certificates

RECENT = timedelta(days=30)
SHOWN = 200
"""Rows of the dry run; its counts are of all."""
_TONES = {"proven": "good", "issued": "warning", "failed": "bad"}
_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far a dry run looks."""

    slug: str
    label: str
    length: timedelta


HORIZONS = [
    Horizon("24h", "24 hours", timedelta(hours=24)),
    Horizon("7d", "7 days", timedelta(days=7)),
    Horizon("30d", "30 days", timedelta(days=30)),
]


@dataclass(slots=True)
class Day:
    """The devices that become due on one day: how many, and the first of them."""

    on: date
    count: int
    shown: list[renewals.Forecast] = field(default_factory=list)

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.count - len(self.shown)


class EndedFilter(admin.SimpleListFilter):
    """By the time since they were proven or given up."""

    title = "ended"
    parameter_name = "ended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """What people ask for."""
        return [("7d", "In the last 7 days"), ("30d", "In the last 30 days")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """By the date of the end."""
        days = {"7d": 7, "30d": 30}.get(self.value() or "")
        return queryset.filter(ended_at__gte=timezone.now() - timedelta(days=days)) if days else queryset


@admin.register(Renewal)
class RenewalAdmin(ReadOnlyAdmin):
    """The rotation, row by row; its head counts them and leads to each kind."""

    change_list_template = "admin/devices/renewal/change_list.html"
    change_form_template = "admin/devices/renewal/change_form.html"
    list_display = [
        "whose",
        "state_badge",
        "expires",
        "why",
        "asked",
        "next_attempt",
    ]
    list_filter = [
        "state",
        EndedFilter,
        "cause",
        ("device__groups", admin.RelatedOnlyFieldListFilter),
        ("device__device_type", admin.RelatedOnlyFieldListFilter),
    ]
    list_select_related = ["device", "certificate"]
    search_fields = ["device__device_id__exact", "=device__hardware_id", "=certificate__serial"]
    search_help_text = "The whole device id, hardware id, or serial number of the certificate to be replaced"
    fields = [
        "device",
        "state_badge",
        ("certificate", "successor"),
        ("cause", "requested_by", "created_at"),
        ("attempts", "asked_at", "next_attempt_at"),
        ("issued_at", "ended_at"),
        "detail",
    ]
    readonly_fields = ["state_badge"]
    actions = ["ask_again"]

    def has_rotate_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to have devices asked."""
        return request.user.has_perm("devices.change_renewal")

    @admin.action(description="Ask again now", permissions=["rotate"])
    def ask_again(self, request: HttpRequest, queryset: QuerySet[Renewal]) -> HttpResponse | None:
        """Those that are open are asked at once; those that failed, and were not tried anew, are opened again."""
        newer = Renewal.objects.filter(device=OuterRef("device"), pk__gt=OuterRef("pk"))
        failed = queryset.filter(~Exists(newer), state=Renewal.State.FAILED)
        total = queryset.count()
        still_open = list(queryset.filter(state__in=Renewal.OPEN).values_list("device", flat=True))
        devices = Device.objects.filter(pk__in=[*still_open, *failed.values_list("device", flat=True)])
        with transaction.atomic():
            opened = renewals.request(devices, request.user, timezone.now(), "Asked again from the list of renewals")
            transaction.on_commit(rotate_certificates.delay, robust=True)  # beat does the same, only later
        done = len(still_open) + opened
        if done:
            anew = f" Of these opened anew: {opened}." if opened else ""
            messages.success(request, f"Asked as soon as they are online: {done}.{anew}")
        if total > done:
            messages.warning(request, f"Ended, or without a certificate to renew: {total - done}.")
        return where_from(self, request)

    def get_urls(self) -> list[URLPattern]:
        """The dry run."""
        ours = path("dry-run/", self.admin_site.admin_view(self.dry_run), name="devices_renewal_dry_run")
        return [ours, *super().get_urls()]

    def dry_run(self, request: HttpRequest) -> HttpResponse:
        """Who becomes due, and when each would be asked. Changes nothing."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = timezone.now()
        chosen = next((each for each in HORIZONS if each.slug == request.GET.get("within")), HORIZONS[0])
        days = _days(now, chosen.length)
        context = {
            **self.admin_site.each_context(request),
            "title": "Dry run",
            "opts": self.opts,
            "horizons": HORIZONS,
            "chosen": chosen,
            "days": days,
            "total": sum(day.count for day in days),
            "most": max((day.count for day in days), default=1),
            "pace": settings.RENEWALS_PER_MINUTE,
            "groups": Group.objects.filter(renewals_per_minute__isnull=False)[:_GROUPS],
            "open": Renewal.objects.filter(state__in=Renewal.OPEN).count(),
        }
        return TemplateResponse(request, "admin/devices/renewal/dry_run.html", context)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """With the head that counts."""
        told = {} if request.method == "POST" else {"tiles": _tiles(request.GET.get("state__exact", ""))}
        return super().changelist_view(request, {**(extra_context or {}), **told})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The row, with its button."""
        row = self.get_object(request, object_id)
        asked = row is not None and row.state not in (Renewal.State.PROVEN, Renewal.State.CANCELLED)
        told = {
            "title": f"Renewal of {row.device}" if row else "",
            "subtitle": None,
            "buttons": self.buttons(request, "ask_again") if asked else [],
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    @admin.display(description="State", ordering="state")
    def state_badge(self, renewal: Renewal) -> SafeString:
        """How far it is."""
        return state_badge(renewal)

    @admin.display(description="Device, certificate", ordering="device__name")
    def whose(self, renewal: Renewal) -> SafeString:
        """The device, and its certificate that is to be replaced."""
        return below(renewal.device, short(renewal.certificate.serial))

    @admin.display(description="Cause, detail", ordering="cause")
    def why(self, renewal: Renewal) -> SafeString | str:
        """How it began, and what it came to."""
        cause = renewal.get_cause_display()
        return below(cause, renewal.detail) if renewal.detail else cause

    @admin.display(description="Expires", ordering="certificate__not_after")
    def expires(self, renewal: Renewal) -> SafeString | str:
        """The end of the certificate to be replaced."""
        return when(renewal.certificate.not_after)

    @admin.display(description="Asked", ordering="asked_at")
    def asked(self, renewal: Renewal) -> SafeString | str:
        """The last time, and how often."""
        times = f"{renewal.attempts} attempt{'' if renewal.attempts == 1 else 's'}"
        return below(when(renewal.asked_at), times) if renewal.attempts else when(renewal.asked_at)

    @admin.display(description="Next attempt", ordering="next_attempt_at")
    def next_attempt(self, renewal: Renewal) -> SafeString | str:
        """When an open one is asked again, if it is online; when a failed one may be tried anew."""
        return when(None if renewal.state == Renewal.State.PROVEN else renewal.next_attempt_at)


def state_badge(renewal: Renewal) -> SafeString:
    """One colour for each state of a renewal."""
    return badge(renewal.state, renewal.get_state_display())


def _tiles(chosen: str) -> list[dict[str, Any]]:
    """What is open now, and what ended in the last 30 days, in one query."""
    since = timezone.now() - RECENT
    told = Renewal.objects.filter(Q(state__in=Renewal.OPEN) | Q(ended_at__gte=since)).aggregate(
        **{state.value: Count("pk", filter=Q(state=state)) for state in Renewal.State}
    )
    return [
        {
            "label": state.label if state in Renewal.OPEN else f"{state.label}, 30 days",
            "figure": told[state.value],
            "tone": _TONES.get(state.value, "neutral") if told[state.value] else "neutral",
            "url": f"?state__exact={state.value}" + ("" if state in Renewal.OPEN else "&ended=30d"),
            "chosen": chosen == state.value,
        }
        for state in Renewal.State
        if state != Renewal.State.CANCELLED  # nobody has to do anything about these
    ]


def _days(now: datetime, horizon: timedelta) -> list[Day]:
    """Everybody who becomes due, by the day; the first of them by name, with the time at the pace of the settings."""
    becomes = TruncDate(Greatest("renew_at", now))
    counted = (
        renewals.due(now, now + horizon).order_by().annotate(day=becomes).values("day").annotate(count=Count("pk"))
    )
    days = {row["day"]: Day(row["day"], row["count"]) for row in counted.order_by("day")}
    for forecast in renewals.preview(now, horizon, SHOWN):
        day = max(forecast.certificate.renew_at, now).date()
        days.setdefault(day, Day(day, 0)).shown.append(forecast)  # one that became due between the two queries
    return list(days.values())
