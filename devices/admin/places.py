"""Pages of customers and what they have: tenants, types, sites, groups."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from devices import evidence
from devices.admin.base import FleetAdmin
from devices.admin.typed_filters import related
from devices.admin.worded_filters import either
from devices.audited import WHY
from devices.models import (
    DeviceType,
    Group,
    MaintenanceWindow,
    Membership,
    Site,
    Tenant,
)

_BUDGET = "telemetry_per_minute"
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


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
                reason=form.cleaned_data.get(WHY, ""),
                detail={"id": str(obj.pk), "name": str(obj)[:200], "per_minute": {"before": before, "now": now}},
            )


class MembershipInline(admin.TabularInline):
    """The people of a tenant."""

    model = Membership
    extra = 0
    autocomplete_fields = ["user"]
    help_texts = {
        "user": "Sees this tenant's devices, and nobody else's.",
        "role": "Viewers look, operators also add and edit devices, owners also manage the team.",
    }


@admin.register(Tenant)
class TenantAdmin(BudgetAdmin):
    """Customers."""

    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    inlines = [MembershipInline]
    help_texts = {
        "slug": "First part of its devices' topics: it never changes. Lower-case letters, digits, - and _.",
        "name": "As its people see it.",
    }

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A slug is part of topics: fixed once made."""
        return ["slug"] if obj else []


@admin.register(DeviceType)
class DeviceTypeAdmin(BudgetAdmin):
    """Hardware models."""

    list_display = ["name", "slug", "owner", "criticality", "silence_seconds", "synthetic"]
    list_filter = ["criticality", ("synthetic", either("devices", "Synthetic", "Real"))]
    list_select_related = ["owner"]
    search_fields = ["name", "slug"]
    help_texts = {
        "slug": "Second part of its devices' topics: it never changes. Lower-case letters, digits, - and _.",
        "name": "As people see it.",
        "criticality": "How much depends on it: a hint for those who decide about a rollout or an incident.",
    }

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A slug is part of topics: fixed once made."""
        return ["slug"] if obj else []


@admin.register(Site)
class SiteAdmin(FleetAdmin):
    """Places."""

    list_display = ["name", "tenant", "region", "timezone"]
    list_filter = [related("tenant", "tenant", Tenant, ("name", "slug"))]
    list_select_related = ["tenant"]
    search_fields = ["name", "region"]
    autocomplete_fields = ["tenant"]
    help_texts = {
        "tenant": "Whose place it is.",
        "name": "As its people call it; once in a tenant.",
        "region": "For searches and exports, e.g. North or DE-BY.",
        "timezone": "Of the people there: an IANA name, such as Europe/Berlin.",
    }


class Weekdays(forms.CheckboxSelectMultiple):
    """Days to tick, for a field that keeps them as digits: 1 is Monday."""

    def __init__(self, attrs: Any = None) -> None:
        super().__init__(attrs, choices=[(str(number), name) for number, name in enumerate(WEEKDAYS, 1)])

    def format_value(self, value: Any) -> list[str]:
        """Each digit is a tick."""
        return list(value or "")

    def value_from_datadict(self, data: Any, files: Any, name: str) -> str:
        """The ticks as digits."""
        return "".join(super().value_from_datadict(data, files, name) or [])

    def create_option(self, name: str, value: Any, label: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Shown short, read out whole."""
        option: dict[str, Any] = super().create_option(name, value, str(label)[:3], *args, **kwargs)
        option["attrs"]["aria-label"] = label
        return option


class WindowForm(forms.ModelForm):
    """A window, with what each kind does."""

    class Meta:
        model = MaintenanceWindow
        fields = ["kind", "weekdays", "starts", "minutes", "timezone"]
        help_texts = {
            "kind": "Freeze: no firmware is offered and no certificate rotated in it. "
            "Slot: once a device has any, firmware is offered to it in an open slot only.",
            "weekdays": "On which it begins.",
            "starts": "In the time zone of the window.",
            "timezone": "An IANA name, such as Europe/Berlin.",
        }
        widgets = {"weekdays": Weekdays(), "timezone": forms.TextInput(attrs={"size": 18})}


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
    list_filter = [related("tenant", "tenant", Tenant, ("name", "slug"))]
    list_select_related = ["tenant"]
    search_fields = ["name"]
    autocomplete_fields = ["tenant"]
    inlines = [MaintenanceWindowInline]
    help_texts = {"tenant": "Whose devices are in it.", "name": "Once in a tenant."}
