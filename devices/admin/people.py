"""Invitations into customers' teams, as staff see them: who was invited by whom, and an end to what went astray.

What a person keeps for themselves (views, preferences) has no page: nobody else has any business with it.
"""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from devices.admin.base import ReadOnlyAdmin, with_reason
from devices.admin.typed_filters import related
from devices.badges import badge
from devices.models import Invitation, Tenant
from devices.people import invitations


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    """Never the secret of the link: that is kept nowhere."""

    list_display = ["email", "tenant", "role", "state_badge", "invited_by", "created_at", "expires_at"]
    list_filter = ["role", related("tenant", "tenant", Tenant, ("name", "slug"))]
    list_select_related = ["tenant", "invited_by"]
    search_fields = ["email", "=invited_by__username"]
    search_help_text = "A part of the address, or the whole user name of whoever invited"
    fields = [
        "email",
        "tenant",
        "role",
        "state_badge",
        ("invited_by", "created_at", "expires_at"),
        ("accepted_by", "accepted_at"),
        "revoked_at",
    ]
    readonly_fields = ["state_badge"]
    actions = ["revoke"]

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """The right to change invitations is the right to end them."""
        return request.user.has_perm("devices.change_invitation")

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> HttpResponse | None:
        """Nobody joins by them any more; who has joined stays."""
        now = timezone.now()
        rows = queryset.select_related("tenant")
        return with_reason(
            self, request, rows, "Revoke", lambda row, reason: invitations.revoke(row, request.user, now, reason)
        )

    @admin.display(description="State")
    def state_badge(self, row: Invitation) -> SafeString:
        """Open, or how it ended."""
        if row.accepted_at:
            return badge("done", "Accepted")
        if row.revoked_at:
            return badge("revoked", "Revoked")
        return badge("pending", "Open") if row.is_open(timezone.now()) else badge("expired", "Expired")
