"""What devices said last, and the figures of minutes and hours."""

from django.contrib import admin

from devices.admin.base import ReadOnlyAdmin
from devices.admin.words import call
from telemetry.models import Latest

call(Latest, "newest reading", "newest readings")


@admin.register(Latest)
class LatestAdmin(ReadOnlyAdmin):
    """The newest reading of each device."""

    list_display = ["device", "ts", "received_at", "schema"]
    list_select_related = ["device", "schema__device_type"]
    search_fields = ["device__device_id__exact"]
    ordering = ["-received_at"]
