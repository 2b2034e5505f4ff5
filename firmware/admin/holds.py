"""The staff's page of holds: devices that must not get a version, or anything, until somebody looked at them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices.admin.base import ReadOnlyAdmin, with_reason
from devices.badges import badge, below, when
from firmware import holds
from firmware.admin.refusals import tried
from firmware.models import Hold


class OpenFilter(admin.SimpleListFilter):
    """Without a choice: those in force."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Those in force have no word: they are what one sees first."""
        return [("cleared", "Cleared"), ("all", "Everything ever held")]

    def choices(self, changelist: Any) -> Any:
        """Django's, its first one under its true name."""
        first, *others = super().choices(changelist)
        yield {**first, "display": "In force"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Who looks at one device sees all its holds."""
        if self.value() == "all" or (self.value() is None and "device__id__exact" in request.GET):
            return queryset
        return queryset.filter(cleared_at__isnull=self.value() is None)


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    """Who is kept from what, and why. Not edited: cleared, with a reason."""

    change_form_template = "admin/firmware/hold/change_form.html"
    list_display = ["device", "what", "reason", "campaign", "since", "cleared"]
    list_filter = [OpenFilter, "kind", ("device__device_type", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["device__tenant", "update__campaign", "cleared_by"]
    search_fields = ["device__device_id__exact", "=device__hardware_id", "=version"]
    search_help_text = "The whole device id, hardware id or version"
    fields = ["device", "what", "reason", "campaign", "created_at", "cleared_at", "cleared_by", "cleared_reason"]
    readonly_fields = ["what", "campaign"]
    actions = ["clear"]

    def has_clear_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to clear."""
        return request.user.has_perm("firmware.change_hold")

    @admin.action(description="Clear…", permissions=["clear"])
    def clear(self, request: HttpRequest, queryset: QuerySet[Hold]) -> HttpResponse | None:
        """Let the devices have it again."""
        now = timezone.now()

        def carry_out(row: Hold, reason: str) -> bool:
            return tried(request, row, lambda: holds.clear(row, request.user, reason, now))

        notes = [
            "The next campaign may offer it again; a running one, when its failed devices are tried again.",
            "What made it fail is still there, unless somebody mended it.",
        ]
        told: dict[str, Any] = {"about": _about, "notes": lambda: notes}
        return with_reason(self, request, queryset.select_related("device__tenant"), "Clear", carry_out, **told)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The row, with its button."""
        row = self.get_object(request, object_id)
        told = {
            "title": f"Hold of {row.device}" if row else "",
            "subtitle": None,
            "buttons": self.buttons(request, "clear") if row and row.cleared_at is None else [],
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    @admin.display(description="What", ordering="kind")
    def what(self, hold: Hold) -> SafeString:
        """One version, or everything."""
        if hold.cleared_at:
            return badge("cleared", f"{hold.version or 'Penalty box'}: cleared")
        return badge(hold.kind, hold.version or hold.get_kind_display())

    @admin.display(description="Campaign")
    def campaign(self, hold: Hold) -> SafeString | str:
        """Where it failed."""
        if hold.update is None:
            return "—"
        made = hold.update.campaign
        return format_html('<a href="{}">{}</a>', reverse("admin:firmware_campaign_change", args=[made.pk]), made)

    @admin.display(description="Since", ordering="created_at")
    def since(self, hold: Hold) -> SafeString | str:
        """When it failed."""
        return when(hold.created_at)

    @admin.display(description="Cleared", ordering="cleared_at")
    def cleared(self, hold: Hold) -> SafeString | str:
        """When, and by whom."""
        return below(when(hold.cleared_at), hold.cleared_by or "the portal") if hold.cleared_at else "—"


def _about(hold: Hold) -> str:
    device = hold.device
    return f"{device} ({device.device_id}) of {device.tenant}: {hold.version or 'penalty box'}, {hold.reason}"
