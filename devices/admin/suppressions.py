"""The staff's page of suppressions: what is kept quiet, until when, and why."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from devices import findings, runbooks
from devices.admin.base import FleetAdmin, with_reason
from devices.errors import DeviceError
from devices.models import Suppression


class SuppressionForm(forms.ModelForm):
    """A kind that exists, and an end that is near enough."""

    kind = forms.ChoiceField(choices=lambda: [(each, each) for each in runbooks.kinds()])
    expires_at = forms.SplitDateTimeField(
        label="Until", widget=AdminSplitDateTime, help_text="UTC, at most a year from now."
    )

    class Meta:
        model = Suppression
        fields = ["kind", "device", "subject", "reason", "expires_at"]

    def clean_expires_at(self) -> datetime:
        """Judged by the use case's own rule."""
        until: datetime = self.cleaned_data["expires_at"]
        try:
            findings.check_until(until, timezone.now())
        except DeviceError as error:
            raise forms.ValidationError(error.detail) from error
        return until


@admin.register(Suppression)
class SuppressionAdmin(FleetAdmin):
    """What is kept quiet. A suppression is made and ends; it is not edited."""

    form = SuppressionForm
    list_display = ["kind", "device", "subject", "reason", "expires_at", "in_force", "created_by"]
    list_filter = ["kind"]
    help_texts = {
        "kind": "Kind of the finding that is kept quiet.",
        "reason": "Why this is known and accepted: kept as evidence with your name.",
    }
    list_select_related = ["device", "created_by"]
    search_fields = ["=kind", "device__device_id__exact"]
    search_help_text = "A whole kind or device id"
    autocomplete_fields = ["device"]
    actions = ["end"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: whoever wants another end ends this one and makes a new one."""
        return False

    def has_end_permission(self, request: HttpRequest) -> bool:
        """The right to change suppressions is the right to end them."""
        return request.user.has_perm("devices.change_suppression")

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        """Make it by the use case."""
        made = findings.suppress(
            obj.kind,
            device=obj.device,
            subject=obj.subject,
            reason=obj.reason,
            until=obj.expires_at,
            user=request.user,
            now=timezone.now(),
        )
        obj.pk, obj.created_by = made.pk, made.created_by

    @admin.action(description="End now…", permissions=["end"])
    def end(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> HttpResponse | None:
        """What is true is raised again by the next audit."""
        now = timezone.now()
        return with_reason(
            self,
            request,
            queryset.select_related("device__tenant"),
            "End",
            lambda row, reason: findings.end(row, reason, request.user, now),
        )

    @admin.display(description="In force", boolean=True)
    def in_force(self, suppression: Suppression) -> bool:
        """Does it keep anything quiet now?"""
        return suppression.expires_at > timezone.now()
