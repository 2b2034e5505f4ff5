"""The staff's pages of device tokens. A token itself is shown once, on the page that answers its making."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_variables

from devices import tokens
from devices.admin.base import ReadOnlyAdmin, with_reason
from devices.admin.once import Secret, shown_once
from devices.badges import badge
from devices.errors import DomainError
from devices.models import DeviceToken

_AT_ONCE = 20
_ONCE = "admin/devices/devicetoken/secret.html"


class TokenForm(forms.ModelForm):
    """What is asked when a token is made."""

    days = forms.IntegerField(
        label="Good for (days)", min_value=1, max_value=tokens.MAX_LIFETIME.days, initial=tokens.LIFETIME.days
    )
    why = forms.CharField(
        label="Reason", max_length=200, required=False, help_text="Kept as evidence with your name. Never the token."
    )

    class Meta:
        model = DeviceToken
        fields = ["device"]


class StateFilter(admin.SimpleListFilter):
    """By what it is good for. Without a choice: those a door lets in, soonest end first."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """In the order of what somebody should look at."""
        return [
            ("ends", "Good, ends in 30 days"),
            ("unused", "Good, never used"),
            ("expired", "Expired"),
            ("revoked", "Revoked"),
            ("all", "Everything ever made"),
        ]

    def choices(self, changelist: Any) -> Any:
        """Django's, its first one under its true name."""
        first, *others = super().choices(changelist)
        yield {**first, "display": "Good"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Who searches for one means every token."""
        now, value = timezone.now(), self.value()
        good = Q(revoked_at__isnull=True, expires_at__gt=now)
        if value is None and request.GET.get("q"):
            return queryset
        wanted = {
            None: good,
            "ends": good & Q(expires_at__lte=now + timedelta(days=30)),
            "unused": good & Q(last_used_at__isnull=True),
            "expired": Q(revoked_at__isnull=True, expires_at__lte=now),
            "revoked": Q(revoked_at__isnull=False),
        }
        return queryset.filter(wanted.get(value, Q()))


@admin.register(DeviceToken)
class DeviceTokenAdmin(ReadOnlyAdmin):
    """Tokens by their end and last use. Rows are evidence: made by the use case, revoked, never edited."""

    form = TokenForm
    list_display = [
        "prefix",
        "device",
        "tenant",
        "state_badge",
        "expires_at",
        "last_used_at",
        "successor",
        "created_by",
    ]
    help_texts = {
        "device": "One that cannot hold a certificate: it speaks by HTTPS with this token.",
        "days": "Then it ends by itself; make its successor before.",
    }
    list_filter = [StateFilter, ("device__tenant", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["device__tenant", "replaced_by", "created_by"]
    search_fields = ["=prefix", "device__device_id__exact"]
    search_help_text = "The first 12 characters (never a whole token), or the whole device id"
    ordering = ["expires_at"]
    autocomplete_fields = ["device"]
    actions = ["rotate", "revoke"]
    _told = [
        "prefix",
        "device",
        "state_badge",
        "expires_at",
        "last_used_at",
        "successor",
        ("revoked_at", "reason"),
        "created_by",
        "created_at",
    ]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """What is asked when it is made, and what came of it. Never its hash."""
        return self._told if obj else ["device", "days", "why"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A token that is out in the world is not edited."""
        return ["state_badge", "successor"] if obj else []

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may hand out credentials."""
        return request.user.has_perm("devices.add_devicetoken")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to revoke."""
        return request.user.has_perm("devices.change_devicetoken")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The device named in the address, where that is a number at all."""
        told: dict[str, Any] = super().get_changeform_initial_data(request)
        return told if str(told.get("device", "0")).isdecimal() else {}

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """What the use case refuses is told above the form, which is then filled in anew."""
        told = {"show_save_and_add_another": False, "show_save_and_continue": False, **(extra_context or {})}
        try:
            return super().add_view(request, form_url, told)
        except DomainError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(request.get_full_path())

    @sensitive_variables("token")
    def save_model(self, request: HttpRequest, obj: DeviceToken, form: Any, change: bool) -> None:
        """Make it by the use case. The token lives as long as this request."""
        if change:
            raise PermissionDenied
        told, now = form.cleaned_data, timezone.now()
        lifetime = timedelta(days=told["days"])
        row, token = tokens.make(obj.device, now, lifetime=lifetime, user=request.user, reason=told["why"])
        obj.__dict__.update(row.__dict__)
        obj.secret = _secret(row, token)  # type: ignore[attr-defined]  # no field: it is never stored

    def response_add(self, request: HttpRequest, obj: DeviceToken, post_url_continue: Any = None) -> HttpResponse:
        """The answer to the form is the only page with the token: no redirect, no message, nothing stored."""
        go_on = reverse("admin:devices_device_change", args=[obj.device_id]) + "#tokens"
        return shown_once(self, request, [obj.secret], go_on, _ONCE, original=obj)  # type: ignore[attr-defined]

    @admin.action(description="Rotate…", permissions=["add"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[DeviceToken]) -> HttpResponse | None:
        """Make a successor; the old one stays good until the new one was used, and for an overlap.

        All new tokens are on the one page that answers, and only there; so there are no more than somebody can carry.
        """
        now = timezone.now()
        made: list[Secret] = []
        if queryset.count() > _AT_ONCE:
            messages.error(request, f"At most {_AT_ONCE} at once: each new token is shown once and has to be carried.")
            return None

        @sensitive_variables("token")
        def carry_out(row: DeviceToken, reason: str) -> bool:
            try:
                new, token = tokens.rotate(row, now, user=request.user, reason=reason)
            except DomainError as error:
                messages.error(request, f"{row}: {error.detail}")
                return False
            made.append(_secret(new, token))
            return True

        # The older first: that withdraws its unused successor, which is then refused. No token shown here is dead.
        rows = queryset.select_related("device__tenant").order_by("pk")
        notes = ["The new ones are shown once, on the next page.", "The old ones stay good until those were used."]
        answer = with_reason(self, request, rows, "Rotate", carry_out, about=_about, notes=lambda: notes)
        go_on = reverse("admin:devices_devicetoken_changelist")
        return shown_once(self, request, made, go_on, _ONCE, rotated=True) if made else answer

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[DeviceToken]) -> HttpResponse | None:
        """At once and for good."""
        now = timezone.now()

        def carry_out(row: DeviceToken, reason: str) -> bool:
            return tokens.revoke(row, reason, request.user, now)

        rows = queryset.select_related("device__tenant")
        return with_reason(self, request, rows, "Revoke", carry_out, about=_about)

    @admin.display(description="State")
    def state_badge(self, row: DeviceToken) -> SafeString:
        """May it be used?"""
        return badge(*tokens.state_of(row, timezone.now()))

    @admin.display(description="Tenant", ordering="device__tenant__name")
    def tenant(self, row: DeviceToken) -> str:
        """Whose device it is."""
        return str(row.device.tenant)

    @admin.display(description="Successor")
    def successor(self, row: DeviceToken) -> str:
        """What replaces it, by its first characters."""
        return str(row.replaced_by) if row.replaced_by else "—"


def _about(row: DeviceToken) -> str:
    return f"{row} of {row.device} ({row.device.device_id}) of {row.device.tenant}"


@sensitive_variables("token")
def _secret(row: DeviceToken, token: str) -> Secret:
    return Secret(f"Token of {row.device} ({row.device.device_id})", token, f"{row.prefix}.txt")
