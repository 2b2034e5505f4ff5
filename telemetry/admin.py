"""The staff's pages of this room."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from devices.admin.base import FleetAdmin, ReadOnlyAdmin
from telemetry.models import DeadLetter, Latest, Metric, Schema

_SHOWN_BYTES = 4096


class MetricInline(admin.TabularInline):
    """The values of a schema version. Fixed once devices have used it."""

    model = Metric
    extra = 0

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A stored array means what the schema said when it was stored."""
        return False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only while the version is being made."""
        return obj is None and super().has_add_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False


@admin.register(Schema)
class SchemaAdmin(FleetAdmin):
    """What devices of a type may say."""

    list_display = ["device_type", "version", "open", "created_at"]
    list_filter = ["device_type"]
    list_select_related = ["device_type"]
    inlines = [MetricInline]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A version is cut, not edited."""
        return ["device_type", "version", "open"] if obj else []


@admin.register(Latest)
class LatestAdmin(ReadOnlyAdmin):
    """The newest reading of each device."""

    list_display = ["device", "ts", "received_at", "schema"]
    list_select_related = ["device", "schema__device_type"]
    search_fields = ["=device__device_id"]
    ordering = ["-received_at"]


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """What was refused, and why."""

    list_display = ["received_at", "reason", "detail", "path", "device", "count", "size"]
    list_filter = ["reason"]
    list_select_related = ["device"]
    search_fields = ["=device__device_id", "=reason"]
    fields = [
        "reason",
        "detail",
        "path",
        "topic",
        "device",
        "shown",
        "size",
        "count",
        "first_received_at",
        "received_at",
    ]
    readonly_fields = ["shown"]

    @admin.display(description="Payload")
    def shown(self, letter: DeadLetter) -> str:
        """Its beginning as text; what is no text is escaped."""
        return bytes(letter.payload)[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
