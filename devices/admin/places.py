"""Pages of customers and what they have: tenants, types, sites, groups; and the audit trail."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from devices import evidence
from devices.admin.base import FleetAdmin, ReadOnlyAdmin
from devices.models import (
    DeviceType,
    Event,
    Group,
    MaintenanceWindow,
    Membership,
    Site,
    Tenant,
)

_BUDGET = "telemetry_per_minute"


class BudgetAdmin(FleetAdmin):
    """A page on which a budget of readings is set: evidence says from what to what."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """In the transaction of the page. Workers hear of it with their next batch."""
        super().save_model(request, obj, form, change)
        before, now = form.initial.get(_BUDGET), getattr(obj, _BUDGET)
        if before != now:
            evidence.record(
                f"{obj._meta.model_name}.budget",
                tenant=obj if isinstance(obj, Tenant) else None,
                user=request.user,
                detail={"id": str(obj.pk), "name": str(obj)[:200], "per_minute": {"before": before, "now": now}},
            )


class MembershipInline(admin.TabularInline):
    """The people of a tenant."""

    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


@admin.register(Tenant)
class TenantAdmin(BudgetAdmin):
    """Customers."""

    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    inlines = [MembershipInline]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A slug is part of topics: fixed once made."""
        return ["slug"] if obj else []


@admin.register(DeviceType)
class DeviceTypeAdmin(BudgetAdmin):
    """Hardware models."""

    list_display = ["name", "slug", "owner", "criticality", "silence_seconds", "synthetic"]
    list_filter = ["criticality", "synthetic"]
    list_select_related = ["owner"]
    search_fields = ["name", "slug"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A slug is part of topics: fixed once made."""
        return ["slug"] if obj else []


@admin.register(Site)
class SiteAdmin(FleetAdmin):
    """Places."""

    list_display = ["name", "tenant", "region", "timezone"]
    list_filter = [("tenant", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["tenant"]
    search_fields = ["name", "region"]


class WindowForm(forms.ModelForm):
    """A window, with what each kind does."""

    class Meta:
        model = MaintenanceWindow
        fields = ["kind", "weekdays", "starts", "minutes", "timezone"]
        help_texts = {
            "kind": "Freeze: no firmware is offered and no certificate rotated in it. "
            "Slot: once a device has any, firmware is offered to it in an open slot only.",
            "starts": "In the time zone of the window.",
        }
        widgets = {"weekdays": forms.TextInput(attrs={"size": 8}), "timezone": forms.TextInput(attrs={"size": 18})}


class MaintenanceWindowInline(admin.TabularInline):
    """A group's quiet times, and its times for changes."""

    model = MaintenanceWindow
    form = WindowForm
    extra = 0
    template = "admin/devices/group/windows.html"


@admin.register(Group)
class GroupAdmin(FleetAdmin):
    """Groups of devices."""

    list_display = ["name", "tenant"]
    list_filter = [("tenant", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["tenant"]
    search_fields = ["name"]
    inlines = [MaintenanceWindowInline]


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The audit trail."""

    list_display = ["at", "kind", "device", "tenant", "actor", "reason"]
    list_filter = ["tenant"]
    list_select_related = ["device", "tenant"]
    search_fields = ["=device__device_id"]
    search_help_text = "The whole device id"
