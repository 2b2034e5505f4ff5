"""Rules by which readings go early: made in two steps, since what they delete does not come back."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from devices import audited, evidence
from devices.admin.base import FleetAdmin, with_reason
from telemetry.archive import retention, retention_previews
from telemetry.models import Retention

_SHOWN = 20


@admin.register(Retention)
class RetentionAdmin(FleetAdmin):
    """Promises that nothing older stays. Whoever makes one sees first what it would delete."""

    list_display = ["__str__", "days", "reason", "standing", "created_at"]
    list_select_related = ["tenant", "device_type"]
    list_filter = [("tenant", admin.RelatedOnlyFieldListFilter), ("device_type", admin.RelatedOnlyFieldListFilter)]
    fields = ["tenant", "device_type", "days", "reason"]
    autocomplete_fields = ["tenant", "device_type"]
    help_texts = {
        "tenant": "Whose readings go early. Empty: everybody's of this type.",
        "device_type": "Which devices' readings go early. Empty: all of this tenant.",
    }
    ordering = ["tenant__name", "device_type__name"]
    actions = ["end"]
    asks_why = False  # a rule has a reason of its own, asked for each time
    change_form_template = "admin/telemetry/retention/change_form.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Whose readings it is about does not change: that would be another promise."""
        return ["tenant", "device_type"] if obj else []

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Whoever changes rules ends them."""
        return request.user.has_perm("telemetry.change_retention")

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The form, then what it would delete, and only then the row."""
        if request.method == "POST" and "confirmed" not in request.POST:
            page = self._preview(request, object_id)
            if page:
                return page
        told = {"hot_days": settings.HOT_DAYS, "show_save_and_continue": False, "show_save_and_add_another": False}
        return super().changeform_view(request, object_id, form_url, {**told, **(extra_context or {})})

    def _preview(self, request: HttpRequest, object_id: str | None) -> HttpResponse | None:
        """The second step; None where Django's page has a mistake to tell, or a refusal."""
        row = self.get_object(request, unquote(object_id)) if object_id else None
        may = self.has_change_permission(request, row) if object_id else self.has_add_permission(request)
        if not may or (object_id and row is None):
            return None
        form = self.get_form(request, row, change=row is not None)(request.POST, instance=row)
        if not form.is_valid():
            return None
        rule: Retention = form.instance
        told = retention_previews.preview(rule, timezone.now())
        typed = {field.name: field.value() or "" for field in form}
        here = f"{self.opts.app_label}_{self.opts.model_name}"
        again = reverse(f"admin:{here}_change", args=[row.pk]) if row else reverse(f"admin:{here}_add")
        context = {
            **self.admin_site.each_context(request),
            "title": "What this rule deletes",
            "opts": self.opts,
            "rule": rule,
            "told": told,
            "fleets": told.fleets[:_SHOWN],
            "more": max(len(told.fleets) - _SHOWN, 0),
            "archived": told.archived[:_SHOWN],
            "typed": typed,
            "again": f"{again}?{urlencode(typed)}",
        }
        return TemplateResponse(request, "admin/telemetry/retention/preview.html", context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """On the way back from the preview with what was typed."""
        row = super().get_object(request, object_id, from_field)
        if row and request.method == "GET":
            row.days, row.reason = request.GET.get("days") or row.days, request.GET.get("reason") or row.reason
        return row

    def save_model(self, request: HttpRequest, obj: Retention, form: Any, change: bool) -> None:
        """A rule that was changed is carried out anew, within the hour."""
        obj.swept_on = obj.reached = None
        super().save_model(request, obj, form, change)

    def _record(self, verb: str, request: HttpRequest, obj: Any, message: Any) -> None:
        evidence.record(
            f"retention.{verb}",
            tenant=obj.tenant,
            user=request.user,
            reason=obj.reason,
            detail={"rule": str(obj), **audited.told(request)},
        )

    @admin.action(description="End…", permissions=["end"])
    def end(self, request: HttpRequest, queryset: QuerySet[Retention]) -> HttpResponse | None:
        """From now on these readings stay as long as all others. What is deleted stays deleted."""
        rows = queryset.select_related("tenant", "device_type")
        notes = [f"Their readings stay {settings.HOT_DAYS} days from now on, and are archived then."]
        return with_reason(
            self,
            request,
            rows,
            "End",
            lambda row, reason: retention.end(row, reason, request.user),
            notes=lambda: notes,
        )

    @admin.display(description="Carried out")
    def standing(self, rule: Retention) -> str:
        """How far it is."""
        if rule.reached:
            return f"Under way: days before {rule.reached} are clean"
        return f"On {rule.swept_on}" if rule.swept_on else "Within the hour"
