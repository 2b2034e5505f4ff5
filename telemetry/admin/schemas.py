"""Schemas: what devices of a type may say, by version."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import IntegerField, QuerySet
from django.db.models.expressions import RawSQL
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from devices.admin.base import COUNT_LIMIT, FleetAdmin
from devices.admin.chain import viewed
from devices.badges import badge, below, when
from devices.models import DeviceType
from telemetry.admin.schema_pages import cut_page, schema_file, used_by, version_page
from telemetry.models import Schema

# Counted to a limit, over an index: how many devices spoke by this version last.
_USED = "(SELECT count(*) FROM (SELECT FROM telemetry_latest WHERE schema_id = telemetry_schema.id LIMIT %s) AS used)"
_COUNT = "(SELECT count(*) FROM telemetry_metric WHERE schema_id = telemetry_schema.id)"
_LARGEST = 2**15 - 1


@admin.register(Schema)
class SchemaAdmin(FleetAdmin):
    """Versions by device type, each with a page of its own; see schema_pages.py."""

    list_display = ["named", "devices", "metrics_made", "unnamed", "revision", "changed"]
    list_filter = [("device_type", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["device_type"]
    search_fields = ["device_type__name", "=device_type__slug"]
    search_help_text = "Device type"
    ordering = ["device_type__name", "-version"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With how many metrics it has, and how many devices use it now."""
        used = RawSQL(_USED, [COUNT_LIMIT + 1], output_field=IntegerField())  # noqa: S611 (a constant)
        count = RawSQL(_COUNT, [], output_field=IntegerField())  # noqa: S611 (a constant)
        rows: QuerySet[Any] = super().get_queryset(request).annotate(used=used, count=count)
        return rows

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """With all that its page shows."""
        rows = self.get_queryset(request).select_related("device_type").prefetch_related("metrics")
        small = object_id.isdecimal() and object_id.isascii() and len(object_id) < 6 and int(object_id) <= _LARGEST
        return rows.filter(pk=int(object_id)).first() if small else None

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Its own page instead of Django's form."""
        return version_page(self, request, viewed(self, request, object_id))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """First for which device type; then what the next version says."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        types = DeviceType.objects.visible_to(request.user)
        slug = request.GET.get("device_type", "")
        if not slug:
            context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Cut a version"}
            return TemplateResponse(request, "admin/telemetry/schema/types.html", {**context, "types": types})
        device_type = types.filter(slug=slug[:63].replace("\0", "")).first()
        if device_type is None:
            raise Http404
        rows = Schema.objects.filter(device_type=device_type).prefetch_related("metrics").order_by("-version")
        version = request.GET.get("from", "")
        if version:
            rows = rows.filter(version=int(version) if version.isdecimal() and len(version) < 6 else 0)
        source = rows.first()
        if version and source is None:
            raise Http404
        return cut_page(self, request, device_type, source)

    def get_urls(self) -> list[URLPattern]:
        """The JSON Schema as a file."""
        view = self.admin_site.admin_view(self.schema_view)
        return [path("<path:object_id>/schema.json", view, name="telemetry_schema_json"), *super().get_urls()]

    def schema_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What firmware developers check their messages against."""
        return schema_file(viewed(self, request, object_id))

    @admin.display(description="Version", ordering="device_type__name")
    def named(self, row: Schema) -> SafeString:
        """Device type and number."""
        return below(row.device_type, f"version {row.version}")

    @admin.display(description="Devices that use it now")
    def devices(self, row: Schema) -> str:
        """By their newest reading."""
        return used_by(row)

    @admin.display(description="Metrics", ordering="count")
    def metrics_made(self, row: Schema) -> int:
        """How many."""
        count: int = row.count  # type: ignore[attr-defined]
        return count

    @admin.display(description="Unnamed values")
    def unnamed(self, row: Schema) -> SafeString:
        """Kept or refused?"""
        return badge("open", "Kept") if row.open else badge("closed", "Refused")

    @admin.display(description="Changed", ordering="changed_at")
    def changed(self, row: Schema) -> Any:
        """When."""
        return when(row.changed_at)
