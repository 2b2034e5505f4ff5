"""The staff's pages of claim codes: made for serial numbers, shown once as labels to print, revoked when lost."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.debug import sensitive_variables

from devices import claim_codes, labels
from devices.admin.base import ReadOnlyAdmin, with_reason
from devices.badges import badge, below, when
from devices.errors import DomainError
from devices.models import ClaimCode


class CodesForm(forms.ModelForm):
    """What is asked when codes are made."""

    hardware_ids = forms.CharField(
        label="Serial numbers",
        max_length=100_000,
        widget=AdminTextareaWidget(attrs={"rows": 8}),
        help_text=f"Hardware ids, one a line or with commas between them; at most {claim_codes.MOST}.",
    )

    class Meta:
        model = ClaimCode
        fields = ["claim"]
        help_texts = {
            "claim": "What the devices themselves join by. From now on it admits only devices that have a code of it.",
        }

    def clean_hardware_ids(self) -> list[str]:
        """As a list."""
        told = self.cleaned_data["hardware_ids"].replace(",", "\n")
        found = [line.strip() for line in told.splitlines() if line.strip()]
        if not found:
            raise forms.ValidationError("Name at least one serial number.")
        return found


class StateFilter(admin.SimpleListFilter):
    """By whether somebody has redeemed it."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The states of the badge."""
        return [("waiting", "Not redeemed"), ("done", "Redeemed"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """As the badge judges."""
        return queryset.filter(claim_codes.in_state(self.value() or ""))


@admin.register(ClaimCode)
class ClaimCodeAdmin(ReadOnlyAdmin):
    """Which devices can be added by a code, and who has done so. Rows are evidence."""

    form = CodesForm
    list_display = ["hardware_id", "joins", "state_badge", "device", "redeemed", "created_at"]
    csv_columns = ["hardware_id", "joins", "state_badge", "device", "redeemed_by", "redeemed_at", "created_at"]
    list_filter = [StateFilter, "claim__device_type"]
    list_select_related = ["claim__device_type", "claim__tenant", "device", "redeemed_by"]
    search_fields = ["=hardware_id", "=claim__prefix", "device__device_id__exact"]
    search_help_text = "The whole serial number, device id or id of the claim"
    autocomplete_fields = ["claim"]
    actions = ["revoke"]
    _told = [
        "hardware_id",
        "claim",
        "state_badge",
        "device",
        ("redeemed_by", "redeemed_at"),
        "revoked_at",
        ("created_by", "created_at"),
    ]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """What is asked when codes are made, and what came of one. Never its hash."""
        return self._told if obj else ["claim", "hardware_ids"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A code that is out in the world is not edited."""
        return ["state_badge"] if obj else []

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may hand out codes."""
        return request.user.has_perm("devices.add_claimcode")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to revoke."""
        return request.user.has_perm("devices.change_claimcode")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The claim named in the address, where that is a number at all."""
        told: dict[str, Any] = super().get_changeform_initial_data(request)
        return told if str(told.get("claim", "0")).isdecimal() else {}

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """What the use case refuses is told above the form, which is then filled in anew."""
        told = {"show_save_and_add_another": False, "show_save_and_continue": False, **(extra_context or {})}
        try:
            return super().add_view(request, form_url, {"title": "Make claim codes", **told})
        except DomainError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(request.get_full_path())

    @sensitive_variables("made")
    def save_model(self, request: HttpRequest, obj: ClaimCode, form: Any, change: bool) -> None:
        """Make them by the use case. The codes live as long as this request."""
        if change:
            raise PermissionDenied
        wanted, now = form.cleaned_data["hardware_ids"], timezone.now()
        made = claim_codes.make_many(obj.claim, wanted, request.user, now)
        obj.__dict__.update(made[0][0].__dict__)
        obj.made = made  # type: ignore[attr-defined]  # no field: it is never stored

    @sensitive_variables("shown")
    def response_add(self, request: HttpRequest, obj: ClaimCode, post_url_continue: Any = None) -> HttpResponse:
        """The answer to the form is the only page with the codes: no redirect, no message, nothing stored."""
        page = request.build_absolute_uri(reverse("device-add"))
        shown = [
            # Drawn here of an alphabet of ours: the one thing on the page that is not escaped.
            (row, code, mark_safe(labels.drawing(labels.address(page, code))))  # noqa: S308
            for row, code in obj.made  # type: ignore[attr-defined]
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": "Print the labels" if len(shown) > 1 else "Print the label",
            "opts": self.opts,
            "labels": shown,
            "claim": obj.claim,
            "where": page,
            "page_url": reverse("admin:devices_claimcode_changelist") + "?state=waiting",
        }
        template = "admin/devices/claimcode/labels.html"
        return TemplateResponse(request, template, context, headers={"Cache-Control": "no-store"})

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ClaimCode]) -> HttpResponse | None:
        """For labels that were lost, or devices that will not be sold."""

        def carry_out(row: ClaimCode, reason: str) -> bool:
            return claim_codes.revoke(row, reason, request.user, timezone.now())

        notes = ["Nobody can redeem them any more; a device whose code is revoked waits, until a new one is made."]
        rows = queryset.select_related("claim__device_type", "claim__tenant")
        return with_reason(self, request, rows, "Revoke", carry_out, notes=lambda: notes)

    @admin.display(description="State")
    def state_badge(self, row: ClaimCode) -> SafeString:
        """Can it still be redeemed?"""
        return badge(*claim_codes.state_of(row))

    @admin.display(description="Redeemed by", ordering="redeemed_at")
    def redeemed(self, row: ClaimCode) -> SafeString | str:
        """Who did, and when."""
        return below(row.redeemed_by or "—", when(row.redeemed_at)) if row.redeemed_at else "—"

    @admin.display(description="Type, claim")
    def joins(self, row: ClaimCode) -> SafeString:
        """What it is, and what the device itself joins by."""
        return below(row.claim.device_type, row.claim)
