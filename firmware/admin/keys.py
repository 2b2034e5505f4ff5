"""The staff's pages of trusted keys: added with scope and validity, revoked with what that stops said in numbers."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.forms import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices.admin.base import with_reason
from devices.admin.chain import pem_file, viewed
from devices.badges import badge, below, short, when
from firmware import campaigns, signing, trust
from firmware.admin.refusals import MadeByUseCase, RefusableForm, tried
from firmware.models import Campaign, Release, Signature, TrustedKey, Update
from firmware.states import CampaignState

_LIFETIME = timedelta(days=730)
_SOON = timedelta(days=30)
_RELEASES = 20


class KeyForm(RefusableForm):
    """A public key, what it may sign for, and until when."""

    at = {"key_refused": "public_key", "key_known": "public_key"}

    class Meta:
        model = TrustedKey
        fields = ["name", "public_key", "device_types", "not_before", "not_after"]
        help_texts = {
            "name": "For people: whose key it is, where it is kept.",
            "not_before": "UTC. Releases are taken and campaigns approved between these two moments only.",
            "not_after": "UTC. Later, what was approved before stays good: only a revocation ends that.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "not_before" in self.fields:
            now = timezone.now().replace(second=0, microsecond=0)
            self.fields["not_before"].initial, self.fields["not_after"].initial = now, now + _LIFETIME
            self.fields["public_key"].widget.attrs |= {"rows": 6, "spellcheck": "false", "class": "pem-input"}

    def clean_public_key(self) -> str:
        """A key we can verify with, and not one we know."""
        try:
            key = signing.read_public_key(self.cleaned_data["public_key"])
        except signing.SigningError as error:
            raise ValidationError(str(error)) from error
        known = TrustedKey.objects.filter(fingerprint=key.fingerprint).first()
        if known:
            state = f", revoked on {known.revoked_at:%Y-%m-%d}" if known.revoked_at else ""
            raise ValidationError(f"This key is known already, as {known.name}{state}.")
        return key.pem

    def clean(self) -> dict[str, Any]:
        """It ends after it begins, and not in the past."""
        told = super().clean()
        begins, ends = told.get("not_before"), told.get("not_after")
        if begins and ends and ends <= begins:
            self.add_error("not_after", "It must end after it begins.")
        elif ends and ends <= timezone.now():
            self.add_error("not_after", "This moment has passed: the key could sign nothing. Times are in UTC.")
        return told


class StateFilter(admin.SimpleListFilter):
    """By whether its signature counts today."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The states of the badge."""
        return [("valid", "Valid"), ("soon", "Valid, ends in 30 days"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """In the order in which the badge judges."""
        now, good = timezone.now(), queryset.filter(revoked_at__isnull=True)
        match self.value():
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
            case "expired":
                return good.filter(not_after__lte=now)
            case "valid":
                return good.filter(not_before__lte=now, not_after__gt=now)
            case "soon":
                return good.filter(not_before__lte=now, not_after__gt=now, not_after__lte=now + _SOON)
        return queryset


@admin.register(TrustedKey)
class TrustedKeyAdmin(MadeByUseCase):
    """Keys whose signatures are believed. Never changed but to revoke them."""

    form = KeyForm
    change_form_template = "admin/firmware/trustedkey/change_form.html"
    list_display = ["named", "state", "scope", "valid", "signed", "added_by"]
    list_filter = [StateFilter, "algorithm"]
    list_select_related = ["created_by"]
    search_fields = ["name", "=fingerprint"]
    search_help_text = "Name, or the whole fingerprint"
    autocomplete_fields = ["device_types"]
    actions = ["revoke"]
    _asked = [
        (None, {"fields": ["name", "public_key"]}),
        ("What it may sign for, and until when", {"fields": ["device_types", "not_before", "not_after"]}),
    ]
    _told = ["algorithm", "scope", "not_before", "not_after", "created_by", "created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With its scope, and how many artifacts it signed."""
        rows = super().get_queryset(request).prefetch_related("device_types")
        counted: QuerySet[Any] = rows.annotate(signatures_made=Count("signatures"))
        return counted

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """What is asked when it is added, and what is told of it."""
        return [(None, {"fields": self._told})] if obj else self._asked

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Nothing of a key changes."""
        return ["scope"] if obj else []

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to revoke."""
        return request.user.has_perm("firmware.change_trustedkey")

    def save_model(self, request: HttpRequest, obj: TrustedKey, form: Any, change: bool) -> None:
        """Add it by the use case."""
        told = form.cleaned_data
        made = trust.add_key(
            name=told["name"],
            public_key=told["public_key"],
            device_types=told["device_types"],
            not_before=told["not_before"],
            not_after=told["not_after"],
            user=request.user,
        )
        obj.__dict__.update(made.__dict__)

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[TrustedKey]) -> HttpResponse | None:
        """Never believed again; what runs on its word alone is paused."""
        now = timezone.now()
        paused: list[Campaign] = []

        def carry_out(key: TrustedKey, reason: str) -> bool:
            # Both or neither: a key that is revoked while its campaigns go on would look safe.
            with transaction.atomic():
                done = trust.revoke_key(key, request.user, reason, now)
                running = trust.affected(key).filter(state=CampaignState.RUNNING) if done else ()
                for campaign in running:
                    pause = partial(_pause, campaign, request, f"Key {key} was revoked: {reason}"[:200], now)
                    if tried(request, campaign, pause):
                        paused.append(campaign)
            return done

        def afterwards() -> None:
            if paused:
                messages.warning(request, f"Paused: {', '.join(campaign.name for campaign in paused)}.")

        told: dict[str, Any] = {"about": _about, "notes": lambda: _notes(queryset), "afterwards": afterwards}
        return with_reason(self, request, queryset, "Revoke", carry_out, **told)

    def get_urls(self) -> list[URLPattern]:
        """The PEM to take away."""
        ours = path("<path:object_id>/pem/", self.admin_site.admin_view(self.pem), name="firmware_trustedkey_pem")
        return [ours, *super().get_urls()]

    def pem(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The public key."""
        row = viewed(self, request, object_id)
        return pem_file(row.public_key, f"firmware-key-{row.fingerprint[:12]}")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The key, and what it signed."""
        row = self.get_object(request, object_id)
        if row is None or not self.has_view_permission(request, row):
            return super().change_view(request, object_id, form_url, extra_context)
        signed = Release.objects.filter(artifact__signatures__key=row).select_related("artifact")
        told = {
            "title": f"Key {row.name}",
            "subtitle": None,
            "badge": state_badge(row, timezone.now()),
            "buttons": [] if row.revoked_at else self.buttons(request, "revoke"),
            "signed": signed.order_by("-pk").prefetch_related("device_types")[:_RELEASES],
            "more": max(row.signatures_made - _RELEASES, 0),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    @admin.display(description="Name, fingerprint", ordering="name")
    def named(self, key: TrustedKey) -> SafeString:
        """Its name, and what it is compared by."""
        return below(key.name, short(key.fingerprint, 16))

    @admin.display(description="State")
    def state(self, key: TrustedKey) -> SafeString:
        """Does its signature count today?"""
        return state_badge(key, timezone.now())

    @admin.display(description="May sign for")
    def scope(self, key: TrustedKey) -> str:
        """Its device types."""
        return ", ".join(str(each) for each in key.device_types.all()) or "All device types"

    @admin.display(description="Valid", ordering="not_after")
    def valid(self, key: TrustedKey) -> SafeString:
        """From when until when."""
        return format_html("{} –<br>{}", when(key.not_before), when(key.not_after))

    @admin.display(description="Signatures", ordering="signatures_made")
    def signed(self, key: TrustedKey) -> int:
        """Artifacts it signed."""
        count: int = key.signatures_made  # type: ignore[attr-defined]
        return count

    @admin.display(description="Added by", ordering="created_by__username")
    def added_by(self, key: TrustedKey) -> str:
        """Who trusts it."""
        return str(key.created_by or "—")


def state_badge(key: TrustedKey, now: datetime) -> SafeString:
    """Does its signature count?"""
    if key.revoked_at:
        return badge("revoked")
    if key.not_after <= now:
        return badge("expired")
    if key.not_before > now:
        return badge("pending", "Not yet")
    return badge("warning", "Ends soon") if key.not_after <= now + _SOON else badge("valid")


def _pause(campaign: Campaign, request: HttpRequest, reason: str, now: datetime) -> None:
    with transaction.atomic():
        campaigns.pause(campaign, request.user, reason, now)


def _about(key: TrustedKey) -> str:
    return f"{key.name}: {key.get_algorithm_display()}, SHA-256 {key.fingerprint}"


def _notes(keys: QuerySet[TrustedKey]) -> list[str]:
    """What stops, in numbers."""
    others = Signature.objects.filter(artifact=OuterRef("artifact"), key__revoked_at__isnull=True)
    signed = Release.objects.filter(artifact__signatures__key__in=keys).distinct()
    alone = signed.exclude(Exists(others.exclude(key__in=keys.order_by().values("pk"))))
    waiting = [CampaignState.DRAFT, CampaignState.PENDING_APPROVAL, CampaignState.SCHEDULED]
    running = Campaign.objects.filter(release__in=alone, state=CampaignState.RUNNING)
    blocked = Campaign.objects.filter(release__in=alone, state__in=waiting)
    flying = Update.objects.active().filter(campaign__in=running)
    return [
        f"Releases it signed: {signed.count()}; signed by no other good key: {alone.count()}. These cannot be rolled "
        "out any more, to any device.",
        f"Running campaigns of these, paused at once: {running.count()}, with updates under way: {flying.count()}. "
        "Devices that are installing go on.",
        f"Campaigns of these that have not started, and cannot start any more: {blocked.count()}.",
        "A revoked key is never trusted again. Devices keep their own list of keys: take it out of that, too.",
    ]
