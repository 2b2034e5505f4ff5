"""The global stop: its two pages, each with the blast radius in numbers and a reason, and what was stopped before."""

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from devices.admin.base import ReadOnlyAdmin
from devices.admin.worded_filters import either
from devices.badges import badge, below, when
from devices.errors import DomainError
from firmware import campaigns
from firmware.models import Campaign, Stop, Update
from firmware.states import CampaignState

_REASON_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Question:
    """One of the two pages."""

    verb: str
    notes: Callable[[], list[str]]


@admin.register(Stop)
class StopAdmin(ReadOnlyAdmin):
    """When everything was stopped, by whom, and for how long."""

    list_display = ["state", "reason", "began", "ended"]
    list_filter = [("open", either("state", "In force", "Over"))]
    list_select_related = ["started_by", "ended_by"]
    list_display_links = ["reason"]
    change_form_template = "admin/firmware/stop/change_form.html"
    fields = ["reason", "started_by", "started_at", "ended_by", "ended_at"]

    def get_urls(self) -> list[URLPattern]:
        """The two questions."""
        ours = [
            path("stop-all/", self.admin_site.admin_view(self.stop_all), name="firmware_stop_all"),
            path("lift/", self.admin_site.admin_view(self.lift), name="firmware_stop_lift"),
        ]
        return [*ours, *super().get_urls()]

    def stop_all(self, request: HttpRequest) -> HttpResponse:
        """Ask, then stop."""
        if not request.user.has_perm("firmware.add_stop"):
            raise PermissionDenied
        return self._ask(request, Question("Stop all firmware", _stops), lambda reason: _stop(request, reason))

    def lift(self, request: HttpRequest) -> HttpResponse:
        """Ask, then let it go on."""
        if not request.user.has_perm("firmware.change_stop"):
            raise PermissionDenied
        return self._ask(request, Question("Lift the stop", _lifts), lambda reason: _lift(request, reason))

    def _ask(self, request: HttpRequest, question: Question, act: Callable[[str], None]) -> HttpResponse:
        reason = request.POST.get("reason", "").strip()[:_REASON_LENGTH]
        if request.method == "POST" and reason:
            try:
                act(reason)
            except DomainError as error:
                messages.error(request, error.detail)
            return HttpResponseRedirect(reverse("admin:index"))
        context = {
            **self.admin_site.each_context(request),
            "title": question.verb,
            "verb": question.verb,
            "notes": question.notes(),
            "missing": request.method == "POST",
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/firmware/stop/question.html", context)

    @admin.display(description="State", ordering="open")
    def state(self, stop: Stop) -> SafeString:
        """Is it in force?"""
        return badge("cleared", "Lifted") if stop.ended_at else badge("stopped", "In force")

    @admin.display(description="Began", ordering="started_at")
    def began(self, stop: Stop) -> SafeString:
        """When, and who pressed the button."""
        return below(when(stop.started_at), stop.started_by)

    @admin.display(description="Lifted", ordering="ended_at")
    def ended(self, stop: Stop) -> SafeString | str:
        """When, and by whom."""
        return below(when(stop.ended_at), stop.ended_by) if stop.ended_at else "—"


def _stop(request: HttpRequest, reason: str) -> None:
    stop = campaigns.stop_all(request.user, reason, timezone.now())
    ours = stop.started_by_id == request.user.pk and stop.reason == reason
    if ours:
        messages.success(request, "Stopped: no update is offered to any device until the stop is lifted.")
    else:
        messages.warning(request, f"It was stopped already by {stop.started_by}: {stop.reason}")


def _lift(request: HttpRequest, reason: str) -> None:
    lifted = campaigns.lift_stop(request.user, reason, timezone.now())
    if lifted:
        messages.success(request, "The stop is lifted: running campaigns go on where they were.")
    else:
        messages.warning(request, "There was no stop to lift.")


def _stops() -> list[str]:
    running = Campaign.objects.filter(state__in=[CampaignState.RUNNING, CampaignState.ROLLING_BACK])
    flying = Update.objects.active()
    revocable = Update.objects.revocable()
    under_way, early = flying.count(), revocable.count()
    return [
        f"Campaigns that go no further: {running.count()}. Rollbacks are among them: they stop, too.",
        f"Updates under way: {under_way}. Not yet being installed, and made to wait: {early}. Being installed: "
        f"{under_way - early}; a device in the middle of its flash memory is left to finish.",
        "Nothing is offered to any device of any tenant until somebody lifts the stop. Campaigns keep their places.",
    ]


def _lifts() -> list[str]:
    stop = Stop.objects.filter(open=True).select_related("started_by").first()
    if stop is None:
        return ["No stop is in force."]
    running = Campaign.objects.filter(state__in=[CampaignState.RUNNING, CampaignState.ROLLING_BACK])
    return [
        f"Stopped by {stop.started_by} at {stop.started_at:%Y-%m-%d %H:%M} UTC: {stop.reason}",
        f"Campaigns that go on at once, where they were: {running.count()}. Pause first what should not.",
    ]
