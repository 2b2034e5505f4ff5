"""The staff's pages of upload tokens. A token itself is shown once, on the page that answers its making."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_variables

from devices.admin.base import with_reason
from devices.admin.once import Secret, shown_once
from devices.badges import badge, below, when
from firmware import upload_tokens
from firmware.admin.refusals import MadeByUseCase, RefusableForm
from firmware.models import UploadToken

_LIFETIME, _LONGEST = timedelta(days=90), upload_tokens.MAX_LIFETIME


class TokenForm(RefusableForm):
    """What is asked when a token is made."""

    at = {"token_lifetime": "days", "token_scope": "device_types"}
    days = forms.IntegerField(
        label="Good for (days)", min_value=1, max_value=_LONGEST.days, initial=_LIFETIME.days,
        help_text=f"At most {_LONGEST.days}. The shorter, the less a lost token is worth.",
    )  # fmt: skip

    class Meta:
        model = UploadToken
        fields = ["name", "device_types"]
        help_texts = {"name": "For people: the build server and its project."}


class StateFilter(admin.SimpleListFilter):
    """By what it is good for."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The states of the badge."""
        return [("active", "Active"), ("unused", "Never used"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """In the order in which the badge judges."""
        now = timezone.now()
        good = Q(revoked_at__isnull=True, expires_at__gt=now)
        wanted = {
            "active": good,
            "unused": good & Q(last_used_at__isnull=True),
            "expired": Q(revoked_at__isnull=True, expires_at__lte=now),
            "revoked": Q(revoked_at__isnull=False),
        }
        return queryset.filter(wanted.get(self.value() or "", Q()))


@admin.register(UploadToken)
class UploadTokenAdmin(MadeByUseCase):
    """Tokens of build servers: made, shown once, revoked, never edited."""

    form = TokenForm
    list_display = ["named", "state", "scope", "expires", "used", "made_by"]
    list_filter = [StateFilter]
    list_select_related = ["created_by"]
    search_fields = ["name", "=prefix"]
    search_help_text = "Name, or how the token begins (never a whole token)"
    autocomplete_fields = ["device_types"]
    change_form_template = "admin/firmware/uploadtoken/change_form.html"
    actions = ["revoke"]
    _told = ["prefix", "scope", "expires_at", "last_used_at", "revoked_at", "created_by", "created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what they may upload for."""
        rows: QuerySet[Any] = super().get_queryset(request).prefetch_related("device_types")
        return rows

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """What is asked when it is made, and what came of it. Never its hash."""
        return self._told if obj else ["name", "device_types", "days"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A token that is out in the world is not edited."""
        return ["scope"] if obj else []

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to revoke."""
        return request.user.has_perm("firmware.change_uploadtoken")

    @sensitive_variables("token")
    def save_model(self, request: HttpRequest, obj: UploadToken, form: Any, change: bool) -> None:
        """Make it by the use case. The token lives as long as this request."""
        told = form.cleaned_data
        until = timezone.now() + timedelta(days=told["days"])
        row, token = upload_tokens.make(told["name"], list(told["device_types"]), until, request.user)
        obj.__dict__.update(row.__dict__)
        obj.secret = Secret(f"Upload token {row.name}", token, f"{row.prefix}.txt")  # type: ignore[attr-defined]  # never stored

    def response_add(self, request: HttpRequest, obj: UploadToken, post_url_continue: Any = None) -> HttpResponse:
        """The answer to the form is the only page with the token: no redirect, no message, nothing stored."""
        go_on = reverse("admin:firmware_uploadtoken_change", args=[obj.pk])
        template = "admin/firmware/uploadtoken/secret.html"
        return shown_once(self, request, [obj.secret], go_on, template, original=obj)  # type: ignore[attr-defined]

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[UploadToken]) -> HttpResponse | None:
        """At once and for good. What it uploaded stays."""
        now = timezone.now()

        def carry_out(row: UploadToken, reason: str) -> bool:
            return upload_tokens.revoke(row, request.user, reason, now)

        notes = [
            "A build server with it is refused from now on. Releases it uploaded stay: archive those by themselves."
        ]
        told: dict[str, Any] = {"about": lambda row: f"{row} ({row.prefix}…)", "notes": lambda: notes}
        return with_reason(self, request, queryset, "Revoke", carry_out, **told)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The row, with its button."""
        row = self.get_object(request, object_id)
        told = {
            "title": f"Upload token {row}" if row else "",
            "subtitle": None,
            "badge": row and state_badge(row, timezone.now()),
            "buttons": self.buttons(request, "revoke") if row and row.revoked_at is None else [],
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    @admin.display(description="Name, begins with", ordering="name")
    def named(self, row: UploadToken) -> SafeString:
        """Its name, and how the token begins."""
        return below(row.name, f"{row.prefix}…")

    @admin.display(description="State")
    def state(self, row: UploadToken) -> SafeString:
        """May it be used?"""
        return state_badge(row, timezone.now())

    @admin.display(description="May upload for")
    def scope(self, row: UploadToken) -> str:
        """Its device types."""
        return ", ".join(str(each) for each in row.device_types.all()) or "Nothing"

    @admin.display(description="Expires", ordering="expires_at")
    def expires(self, row: UploadToken) -> SafeString | str:
        """Its end."""
        return when(row.expires_at)

    @admin.display(description="Last used", ordering="last_used_at")
    def used(self, row: UploadToken) -> SafeString | str:
        """The last upload."""
        return when(row.last_used_at)

    @admin.display(description="Made by", ordering="created_by__username")
    def made_by(self, row: UploadToken) -> str:
        """Who handed it out."""
        return str(row.created_by or "—")


def state_badge(row: UploadToken, now: datetime) -> SafeString:
    """May it be used?"""
    if row.revoked_at:
        return badge("revoked")
    return badge("expired") if row.expires_at <= now else badge("active")
