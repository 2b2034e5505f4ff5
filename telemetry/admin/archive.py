"""Days that left the database."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.safestring import SafeString

from devices.admin.base import ReadOnlyAdmin
from devices.badges import badge, when
from devices.models import DeviceType, Tenant
from telemetry.models import ArchivedDay


class _Holds(admin.SimpleListFilter):
    """Days with readings of somebody."""

    model: Any

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        rows = self.model.objects.visible_to(request.user).order_by("name")[:200]
        return [(str(row.pk), str(row)) for row in rows]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        if not value.isdecimal() or len(value) > 18:
            return queryset
        return queryset.filter(**{f"{self.parameter_name}__contains": [int(value)]})


class _OfTenant(_Holds):
    title, parameter_name, model = "tenant", "tenants", Tenant


class _OfType(_Holds):
    title, parameter_name, model = "device type", "device_types", DeviceType


@admin.register(ArchivedDay)
class ArchivedDayAdmin(ReadOnlyAdmin):
    """Files of days that left the database; `manage.py archive` asks them, restores them and reads them anew."""

    list_display = ["day", "part", "readings", "weight", "each", "standing", "archived"]
    list_filter = [_OfTenant, _OfType]
    date_hierarchy = "day"
    change_form_template = "admin/telemetry/archivedday/change_form.html"
    fields = [
        "standing",
        "readings",
        "weight",
        "each",
        "first_ts",
        "last_ts",
        "archived_at",
        "dropped_at",
        "restored_at",
        "keep_until",
        "owners",
        "types",
        "path",
        "digest",
        "file_digest",
    ]
    readonly_fields = ["standing", "readings", "weight", "each", "owners", "types"]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Under its own name."""
        return super().change_view(request, object_id, form_url, {"title": "Archived day", **(extra_context or {})})

    @admin.display(description="Readings", ordering="rows")
    def readings(self, part: ArchivedDay) -> str:
        """How many."""
        return f"{part.rows:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")

    @admin.display(description="Size", ordering="size")
    def weight(self, part: ArchivedDay) -> str:
        """Of the Parquet file."""
        return filesizeformat(part.size)

    @admin.display(description="Bytes a reading")
    def each(self, part: ArchivedDay) -> str:
        """What one reading costs."""
        return f"{part.size / part.rows:.1f}" if part.rows else "—"

    @admin.display(description="State")
    def standing(self, part: ArchivedDay) -> SafeString:
        """Where its readings are."""
        state = part.state(timezone.now())
        return badge("archived" if part.dropped_at else "info", state.capitalize())

    @admin.display(description="Archived", ordering="archived_at")
    def archived(self, part: ArchivedDay) -> SafeString | str:
        """When its file was written and compared."""
        return when(part.archived_at)

    @admin.display(description="Readings of")
    def owners(self, part: ArchivedDay) -> str:
        """Tenants."""
        return ", ".join(map(str, Tenant.objects.filter(pk__in=part.tenants).order_by("name"))) or "—"

    @admin.display(description="Device types")
    def types(self, part: ArchivedDay) -> str:
        """Their types."""
        return ", ".join(map(str, DeviceType.objects.filter(pk__in=part.device_types).order_by("name"))) or "—"
