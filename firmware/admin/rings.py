"""The staff's pages of rings: the steps a release goes through before the fleet gets it."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from devices.admin.base import FleetAdmin
from firmware.models import Ring


@admin.register(Ring)
class RingAdmin(FleetAdmin):
    """Rings in their order."""

    list_display = ["name", "order", "to", "campaigns_made"]
    list_display_links = ["name"]
    search_fields = ["name"]
    autocomplete_fields = ["groups"]
    fields = ["name", "order", "groups"]
    help_texts = {"name": "What people call it, such as Own, Friends, Everybody."}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With its groups, and how often it was used."""
        rows = super().get_queryset(request).prefetch_related("groups__tenant")
        counted: QuerySet[Any] = rows.annotate(used=Count("campaigns"))
        return counted

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One that no campaign used is no evidence."""
        allowed = request.user.has_perm("firmware.delete_ring")
        return allowed and (obj is None or not obj.campaigns.exists())

    @admin.display(description="Groups")
    def to(self, ring: Ring) -> str:
        """Whose devices are first."""
        return ", ".join(f"{group} ({group.tenant})" for group in ring.groups.all()) or "—"

    @admin.display(description="Campaigns", ordering="used")
    def campaigns_made(self, ring: Ring) -> int:
        """How many went through it."""
        count: int = ring.used  # type: ignore[attr-defined]
        return count
