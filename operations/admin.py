"""The staff's pages of this room."""

from django.contrib import admin

from devices.admin.base import ReadOnlyAdmin
from operations.models import CheckedKey, ConnectionMinute


@admin.register(ConnectionMinute)
class ConnectionMinuteAdmin(ReadOnlyAdmin):
    """Connections let in and refused, minute by minute."""

    list_display = ["minute", "accepted", "refused"]


@admin.register(CheckedKey)
class CheckedKeyAdmin(ReadOnlyAdmin):
    """Kinds of keys in use."""

    list_display = ["certificate", "algorithm", "bits"]
    list_filter = ["algorithm"]
    list_select_related = ["certificate"]
    search_fields = ["=certificate__serial", "=certificate__device__device_id"]
    search_help_text = "The whole serial number or device id"
