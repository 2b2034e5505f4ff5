"""The staff's pages of this room. States are read-only here; use cases move them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString

import devices.admin_identity  # noqa: F401 (registers its pages)
from devices import evidence, lifecycle, panels
from devices.admin_base import FleetAdmin, ReadOnlyAdmin, with_reason
from devices.badges import badge
from devices.models import (
    Device,
    DeviceType,
    Event,
    Finding,
    Group,
    MaintenanceWindow,
    Membership,
    Site,
    Tenant,
)
from devices.tasks import shut_out


@dataclass(frozen=True, slots=True)
class ShownPanel:
    """A panel with what it shows of one device."""

    slug: str
    label: str
    template: str
    context: dict[str, Any]


class DeviceForm(forms.ModelForm):
    """Keeps a device among its own tenant's groups; the model does the same for its site."""

    def clean_groups(self) -> QuerySet[Group]:
        """Refuse groups of another tenant."""
        groups: QuerySet[Group] = self.cleaned_data["groups"]
        strangers = groups.exclude(tenant_id=self.instance.tenant_id)
        if strangers:
            raise forms.ValidationError(f"Of another tenant: {', '.join(str(group) for group in strangers)}.")
        return groups


@admin.register(Device)
class DeviceAdmin(FleetAdmin):
    """The cockpit: a list that tells each device's state at a glance, and a page with everything about one."""

    form = DeviceForm
    list_display = [
        "__str__",
        "presence_badge",
        "state_badge",
        "device_type",
        "tenant",
        "site",
        "firmware",
        "last_seen",
    ]
    list_filter = [
        "presence__online",
        "state",
        "device_type",
        ("tenant", admin.RelatedOnlyFieldListFilter),
        ("site", admin.RelatedOnlyFieldListFilter),
    ]
    list_select_related = ["device_type", "tenant", "site", "presence"]
    ordering = ["name", "device_id"]
    search_fields = ["name", "=device_id", "hardware_id"]
    search_help_text = "Name, hardware id, or the whole device id"
    autocomplete_fields = ["site", "groups"]
    fields = [
        "name",
        "device_id",
        "hardware_id",
        "tenant",
        "device_type",
        "state_badge",
        "site",
        "groups",
        "created_at",
    ]
    readonly_fields = ["device_id", "hardware_id", "tenant", "device_type", "state_badge", "created_at"]

    actions = ["quarantine", "release", "decommission"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Devices enrol themselves, with a claim."""
        return False

    @admin.action(description="Quarantine…", permissions=["change"])
    def quarantine(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """Leave them only `status` and `cmd`."""
        use_case = partial(lifecycle.quarantine, user=request.user)
        return self._move(request, queryset, "Quarantine", use_case)

    @admin.action(description="Release from quarantine…", permissions=["change"])
    def release(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """Let them speak again."""
        use_case = partial(lifecycle.release, user=request.user)
        return self._move(request, queryset, "Release", use_case)

    @admin.action(description="Decommission…", permissions=["change"])
    def decommission(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        """End their lives and revoke their certificates."""
        use_case = partial(lifecycle.decommission, user=request.user, now=timezone.now())
        return self._move(request, queryset, "Decommission", use_case)

    def _move(
        self, request: HttpRequest, rows: QuerySet[Device], verb: str, use_case: Callable[[Device, str], bool]
    ) -> HttpResponse | None:
        def carry_out(device: Device, reason: str) -> bool:
            with transaction.atomic():
                changed = use_case(device, reason)
                if changed:
                    transaction.on_commit(lambda: shut_out.delay(device.device_id))
            return changed

        return with_reason(self, request, rows.select_related("tenant"), verb, carry_out)

    @admin.display(description="Connection", ordering="presence__online")
    def presence_badge(self, device: Device) -> SafeString:
        """Online or offline."""
        return badge("online" if device.presence.online else "offline")

    @admin.display(description="State", ordering="state")
    def state_badge(self, device: Device) -> SafeString:
        """Life-cycle state."""
        return badge(device.state, device.get_state_display())

    @admin.display(description="Firmware", ordering="presence__firmware_version")
    def firmware(self, device: Device) -> str:
        """Version of the last birth."""
        return device.presence.firmware_version or "—"

    @admin.display(description="Last seen", ordering="presence__last_seen_at")
    def last_seen(self, device: Device) -> Any:
        """When it was last heard."""
        return device.presence.last_seen_at

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form, and the panels that the rooms registered."""
        device = self.get_object(request, object_id)
        shown = [
            ShownPanel(panel.slug, panel.label, panel.template, panel.context(device))
            for panel in (panels.panels() if device else [])
        ]
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "panels": shown})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """With what the page's head shows."""
        device = super().get_object(request, object_id, from_field)
        return device and Device.objects.select_related("device_type", "tenant", "site", "presence").get(pk=device.pk)


class MembershipInline(admin.TabularInline):
    """The people of a tenant."""

    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


@admin.register(Tenant)
class TenantAdmin(FleetAdmin):
    """Customers."""

    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    inlines = [MembershipInline]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A slug is part of topics: fixed once made."""
        return ["slug"] if obj else []


@admin.register(DeviceType)
class DeviceTypeAdmin(FleetAdmin):
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


class MaintenanceWindowInline(admin.TabularInline):
    """A group's quiet times."""

    model = MaintenanceWindow
    extra = 0


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


@admin.register(Finding)
class FindingAdmin(FleetAdmin):
    """What somebody should look at."""

    list_display = ["kind", "severity_badge", "device", "detail", "count", "last_seen_at", "resolved_at"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), "severity", "kind"]
    list_select_related = ["device"]
    search_fields = ["kind", "=device__device_id"]
    actions = ["resolve"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Findings are raised by the portal."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """They are resolved, not edited."""
        return [field.name for field in self.model._meta.fields]

    @admin.display(description="Severity", ordering="severity")
    def severity_badge(self, finding: Finding) -> SafeString:
        """How bad it is."""
        return badge(finding.severity, finding.get_severity_display())

    @admin.action(description="Resolve selected findings", permissions=["change"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Finding]) -> None:
        """Seen and dealt with; if it happens again, a new finding opens."""
        for finding in queryset.select_related("device__tenant").filter(resolved_at__isnull=True):
            Finding.objects.filter(pk=finding.pk, resolved_at__isnull=True).update(resolved_at=timezone.now())
            evidence.record("finding.resolved", device=finding.device, user=request.user, detail={"kind": finding.kind})
        messages.success(request, "Resolved.")
