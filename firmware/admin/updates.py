"""The staff's page of one device in one campaign: where it is, what proves it, and everything the device said."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from devices.admin.base import ReadOnlyAdmin
from devices.admin.worded_filters import either, worded
from devices.badges import badge, below, when
from firmware import reasons
from firmware.models import Hold, Update
from firmware.reporting import TAKEN_BACK
from firmware.states import ACTIVE, UpdateState

SHOWN_REPORTS = 200
_WAITS = {
    "stage": "for its stage",
    "offline": "offline",
    "window": "for its maintenance window",
    "power": "for power",
    "space": "for free space",
    "pacing": "for its turn",
    "busy": "for another campaign",
    "consent": "for consent",
    "approval": "for an approval",
}


def state_badge(update: Update) -> SafeString:
    """One badge for each state; what is planned is told from what was offered, taken back from failed by itself."""
    planned = update.state == UpdateState.QUEUED and not update.offered_at
    return badge(update.state, "Planned" if planned else state_label(update.state, update.reason_code))


def state_label(state: str, reason_code: str = "") -> str:
    """A state as the pages of campaigns call it."""
    if state == UpdateState.REJECTED:
        return "Refused"
    if state not in ACTIVE and reason_code == TAKEN_BACK:
        return "Taken back"
    return "Cancelled" if state == UpdateState.CANCELED else state.replace("_", " ").capitalize()


def _of_choice(label: str) -> str:
    return state_label(label.lower().replace(" ", "_"))


def waits(update: Update) -> str:
    """Why nothing moves, for people."""
    return _WAITS.get(update.waiting, update.waiting) if update.state in ACTIVE else ""


@admin.register(Update)
class UpdateAdmin(ReadOnlyAdmin):
    """Which device got what, in which campaign; reports and time move it."""

    change_form_template = "admin/firmware/campaign/update.html"
    list_display = ["who", "state_shown", "campaign", "release", "why", "attempt", "since"]
    list_display_links = ["who"]
    list_filter = [
        ("state", worded(admin.ChoicesFieldListFilter, "state", _of_choice)),
        ("needs_attention", either("attention", "Needed", "Not needed")),
    ]
    list_select_related = ["device", "campaign", "release"]
    search_fields = ["device__device_id__exact", "=serial", "=update_id"]
    search_help_text = "The whole device id, serial, or id of the update"
    ordering = ["-pk"]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The row as facts, what holds the device back, and its reports."""
        update = self.get_object(request, object_id)
        if update is None or not self.has_view_permission(request, update):
            return super().change_view(request, object_id, form_url, extra_context)
        reports = list(update.reports.order_by("-pk")[:SHOWN_REPORTS])
        told = {
            "title": f"{update.device} in {update.campaign}",
            "subtitle": None,
            "update": update,
            "badge": state_badge(update),
            "waits": waits(update),
            "reports": reports,
            "ignored": sum(not report.applied for report in reports),
            "holds": Hold.objects.filter(device=update.device).select_related("cleared_by").order_by("-pk")[:20],
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """With what the page shows."""
        found = super().get_object(request, object_id, from_field)
        parts = ["campaign__release", "campaign__rollback_of", "release", "fallback"]
        rows = Update.objects.select_related("device__tenant", "device__site", "device__presence", *parts)
        return found and rows.get(pk=found.pk)

    @admin.display(description="Device", ordering="serial")
    def who(self, update: Update) -> SafeString:
        """Its name, and the serial number it had."""
        return below(update.device, update.serial)

    @admin.display(description="State", ordering="state")
    def state_shown(self, update: Update) -> SafeString:
        """The badge, and what it waits for."""
        waiting = waits(update)
        return below(state_badge(update), f"waits {waiting}") if waiting else state_badge(update)

    @admin.display(description="Reason")
    def why(self, update: Update) -> SafeString | str:
        """In words, and what else was said."""
        told = reasons.words(update.reason_code) if update.reason_code else "—"
        return below(told, update.detail) if update.detail else told

    @admin.display(description="Since", ordering="changed_at")
    def since(self, update: Update) -> SafeString | str:
        """When it last moved."""
        return when(update.changed_at)
