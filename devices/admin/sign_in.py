"""What people sign in with, and where they are signed in: second factors and sessions. Secrets are never shown."""

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from devices import evidence
from devices.admin.base import ReadOnlyAdmin, with_reason
from devices.admin.people import SuperusersOnly
from devices.admin.worded_filters import worded
from devices.admin.words import call, call_app, replaced
from devices.badges import when

_KINDS = {
    Authenticator.Type.RECOVERY_CODES: "Recovery codes",
    Authenticator.Type.TOTP: "App with codes",
    Authenticator.Type.WEBAUTHN: "Passkey",
}
"""In the order of the model's own choices, which the filter follows."""


class OfPeople(SuperusersOnly, ReadOnlyAdmin):
    """Rows of people, who belong to no tenant."""

    list_select_related = ["user"]
    search_fields = ["user__username", "=user__email"]
    search_help_text = "A part of the user name, or the whole address"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Who may see the page sees all."""
        return admin.ModelAdmin.get_queryset(self, request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Their people make them."""
        return False

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Who may change people."""
        return bool(request.user.is_superuser)


class SecondFactorAdmin(OfPeople):
    """Somebody lost their phone: theirs are removed, and they sign in with the password and set up another."""

    list_display = ["user", "kind", "named", "made", "used"]
    list_filter = [("type", worded(admin.ChoicesFieldListFilter, "kind", tuple(_KINDS.values())))]
    ordering = ["user__username", "type"]
    fields = ["user", "kind", "named", "made", "used"]
    readonly_fields = ["kind", "named", "made", "used"]
    actions = ["remove"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Superusers; it asks why, and with the last one the person's sessions end (fleetportal/accounts)."""
        return request.user.is_superuser and admin.ModelAdmin.has_delete_permission(self, request, obj)

    @admin.action(description="Remove…", permissions=["end"])
    def remove(self, request: HttpRequest, queryset: QuerySet[Authenticator]) -> HttpResponse | None:
        """For good."""

        def carry_out(row: Authenticator, reason: str) -> bool:
            with transaction.atomic():
                _tell("authenticator.removed", row, request.user, reason)
                row.delete()
            return True

        notes = ["They sign in without it from then on. With somebody's last one their sessions end."]
        rows = queryset.select_related("user")
        return with_reason(self, request, rows, "Remove", carry_out, about=_about, notes=lambda: notes)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """One way to remove several."""
        return {name: told for name, told in super().get_actions(request).items() if name != "delete_selected"}

    @admin.display(description="Set up", ordering="created_at")
    def made(self, row: Authenticator) -> Any:
        """When."""
        return when(row.created_at)

    @admin.display(description="Last used", ordering="last_used_at")
    def used(self, row: Authenticator) -> Any:
        """Never, it may be."""
        return when(row.last_used_at) if row.last_used_at else "—"

    @admin.display(description="Kind", ordering="type")
    def kind(self, row: Authenticator) -> str:
        """As their people's pages call it."""
        return _KINDS[Authenticator.Type(row.type)]

    @admin.display(description="Name")
    def named(self, row: Authenticator) -> str:
        """What its person called it."""
        return str(row.wrap().name) if row.type == Authenticator.Type.WEBAUTHN else "—"


class SessionAdmin(OfPeople):
    """Where people are signed in."""

    list_display = ["user", "address", "browser", "since", "seen"]
    search_fields = ["user__username", "=user__email", "=ip"]
    search_help_text = "A part of the user name, the whole address, or the whole IP address"
    ordering = ["-last_seen_at"]
    fields = ["user", "address", "browser", "since", "seen"]
    readonly_fields = ["address", "browser", "since", "seen"]
    actions = ["end"]

    @admin.display(description="IP address", ordering="ip")
    def address(self, row: UserSession) -> str:
        """Where it was seen last."""
        return str(row.ip)

    @admin.display(description="Browser", ordering="user_agent")
    def browser(self, row: UserSession) -> str:
        """As it calls itself."""
        return row.user_agent or "—"

    @admin.display(description="Signed in", ordering="created_at")
    def since(self, row: UserSession) -> Any:
        """When."""
        return when(row.created_at)

    @admin.display(description="Last seen", ordering="last_seen_at")
    def seen(self, row: UserSession) -> Any:
        """When."""
        return when(row.last_seen_at)

    @admin.action(description="End…", permissions=["end"])
    def end(self, request: HttpRequest, queryset: QuerySet[UserSession]) -> HttpResponse | None:
        """The session itself, not only the row about it."""

        def carry_out(row: UserSession, reason: str) -> bool:
            with transaction.atomic():
                _tell("session.ended", row, request.user, reason)
                row.end()
            return True

        notes = ["Who sits there must sign in again, which only a new password keeps somebody from who knows it."]
        rows = queryset.select_related("user")
        return with_reason(self, request, rows, "End", carry_out, about=_about, notes=lambda: notes)


def _about(row: Any) -> str:
    return f"{row} of {row.user}"


def _tell(kind: str, row: Any, user: Any, reason: str) -> None:
    detail = {"id": str(row.pk), "name": str(row)[:200], "person": row.user.get_username()}
    evidence.record(kind, user=user, reason=reason, detail=detail)


replaced(Authenticator, UserSession)
for _label in ("auth", "mfa", "usersessions", "allauth_idp_oidc"):
    call_app(_label, "People")
call(Authenticator, "second factor", "second factors")
call(UserSession, "session", "sessions")
admin.site.register(Authenticator, SecondFactorAdmin)
admin.site.register(UserSession, SessionAdmin)
