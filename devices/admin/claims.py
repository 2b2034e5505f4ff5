"""The staff's pages of claims: made with clear choices, their secret shown once and kept nowhere, their use visible."""

from typing import Any

from cryptography import x509
from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from devices import authorities, ca_rules, claims
from devices.admin.base import FleetAdmin, with_reason
from devices.admin.chain import Leaf, chain
from devices.admin.claim_form import ClaimForm
from devices.admin.once import Secret, shown_once
from devices.badges import badge, below, when
from devices.models import Approval, Authority, Claim

_DEVICES = 50
_WAITING = 20


class StateFilter(admin.SimpleListFilter):
    """By whether it still admits devices."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The states of the badge."""
        return [("active", "Active"), ("used", "Used up"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Claim]) -> QuerySet[Claim]:
        """In the order in which the badge judges."""
        now, good = timezone.now(), queryset.filter(revoked_at__isnull=True)
        match self.value():
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
            case "expired":
                return good.filter(expires_at__lte=now)
            case "used":
                return good.filter(expires_at__gt=now, uses__gte=F("max_devices"))
            case "active":
                return good.filter(expires_at__gt=now, uses__lt=F("max_devices"))
        return queryset


@admin.register(Claim)
class ClaimAdmin(FleetAdmin):
    """Bootstrap credentials. The secret is shown once, on the page that answers the form."""

    form = ClaimForm
    change_form_template = "admin/devices/claim/change_form.html"
    list_display = ["named", "state", "kind", "joins", "used", "approval", "expires"]
    help_texts = {
        "kind": "A token is a secret text; a certificate is built in with its key; a maker vouches by a CA of its own.",
        "tenant": "Whose the devices become.",
        "device_type": "What may join by it: nothing of another type.",
    }
    list_filter = [StateFilter, "kind", "device_type", ("tenant", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["tenant", "device_type"]
    search_fields = ["name", "prefix"]
    autocomplete_fields = ["tenant", "device_type", "site"]
    radio_fields = {"kind": admin.VERTICAL}
    actions = ["revoke"]
    _asked = [
        ("Who may join", {"fields": ["name", "tenant", "device_type", "site"]}),
        ("By what", {"fields": ["kind", "maker"]}),
        ("How many, and until when", {"fields": ["max_devices", "hardware_ids", "expires_at", "approve_by_hand"]}),
    ]
    _told = ["tenant", "device_type", "site", "maker", "approval", "created_by", "created_at", "revoked_at", "serials"]

    def get_fieldsets(self, request: HttpRequest, obj: Claim | None = None) -> Any:
        """What is asked when it is made, and what came of it."""
        return [(None, {"fields": self._told})] if obj else self._asked

    def has_change_permission(self, request: HttpRequest, obj: Claim | None = None) -> bool:
        """A claim that is out in the world is not edited, only revoked."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """The right to change claims is the right to revoke them."""
        return request.user.has_perm("devices.change_claim")

    def save_model(self, request: HttpRequest, obj: Claim, form: Any, change: bool) -> None:
        """Make it by the use case. The secret lives as long as this request."""
        now = timezone.now()
        claim, secret = claims.make_claim(
            tenant=obj.tenant,
            device_type=obj.device_type,
            site=obj.site,
            name=obj.name,
            kind=obj.kind,
            maker=obj.maker,
            approve_by_hand=obj.approve_by_hand,
            hardware_ids=obj.hardware_ids,
            max_devices=obj.max_devices,
            lifetime=obj.expires_at - now,
            now=now,
            user=request.user,
        )
        obj.__dict__.update(claim.__dict__)
        obj.secret = secret  # type: ignore[attr-defined]  # no field: it is never stored

    def response_add(self, request: HttpRequest, obj: Claim, post_url_continue: str | None = None) -> HttpResponse:
        """The answer to the form is the only page with the secret: no redirect, no message, nothing stored."""
        if not obj.secret:  # type: ignore[attr-defined]
            return super().response_add(request, obj, post_url_continue)
        is_token = obj.kind == Claim.Kind.TOKEN
        secret = Secret(
            "Token" if is_token else "Private key and certificate",
            obj.secret,  # type: ignore[attr-defined]
            f"{obj.prefix}.{'txt' if is_token else 'pem'}",
        )
        go_on = reverse("admin:devices_claim_change", args=[obj.pk])
        template = "admin/devices/claim/secret.html"
        return shown_once(self, request, [secret], go_on, template, original=obj, is_token=is_token)

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Claim]) -> HttpResponse | None:
        """No further device joins by them; those that have joined stay."""

        def carry_out(claim: Claim, reason: str) -> bool:
            return claims.revoke(claim, reason, request.user, timezone.now())

        return with_reason(
            self,
            request,
            queryset.select_related("tenant", "device_type"),
            "Revoke",
            carry_out,
            about=lambda claim: (
                f"{claim}: {claim.device_type} of {claim.tenant}, {claim.uses} of {claim.max_devices} used"
            ),
            notes=lambda: ["No further device joins by it. Those that have joined keep their certificates."],
        )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One button: what follows is the page with the secret."""
        told = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **told})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The row, and what came of it: who joined, who waits."""
        claim, now = self.get_object(request, object_id), timezone.now()
        if claim is None or not self.has_view_permission(request, claim):
            return super().change_view(request, object_id, form_url, extra_context)
        joined = list(claim.devices.select_related("presence").order_by("-pk")[: _DEVICES + 1])
        waiting = claim.approvals.filter(state=Approval.State.PENDING).order_by("asked_at")
        told = {
            "buttons": [] if claim.revoked_at else self.buttons(request, "revoke"),
            "title": f"Claim {claim.name}",
            "subtitle": None,
            "badge": _state(claim),
            "joined": joined[:_DEVICES],
            "more": len(joined) > _DEVICES,
            "waiting": waiting[:_WAITING],
            "chain": self._chain(claim, now),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    def _chain(self, claim: Claim, now: Any) -> Any:
        """Of a claim certificate up to the claim root; of a maker's claim that of the maker."""
        if claim.maker:
            return chain(claim.maker, now)
        if not claim.certificate:
            return None
        leaf = x509.load_pem_x509_certificate(claim.certificate.encode())
        roots = Authority.objects.filter(kind=Authority.Kind.CLAIM)
        signer = next((row for row in roots if ca_rules.issued_by(leaf, authorities.parsed(row))), None)
        return chain(signer, now, Leaf("Claim", claim.name, claim.certificate, _state(claim)))

    @admin.display(description="State")
    def state(self, claim: Claim) -> SafeString:
        """Does it still admit devices?"""
        return _state(claim)

    @admin.display(description="Used", ordering="uses")
    def used(self, claim: Claim) -> str:
        """How many of how many."""
        return f"{claim.uses} of {claim.max_devices}"

    @admin.display(description="Expires", ordering="expires_at")
    def expires(self, claim: Claim) -> SafeString | str:
        """Nobody joins by it from then on."""
        return when(claim.expires_at)

    @admin.display(description="Approval", ordering="approve_by_hand")
    def approval(self, claim: Claim) -> str:
        """Does each device wait for a person?"""
        return "By hand" if claim.approve_by_hand else "Not needed"

    @admin.display(description="Name, id", ordering="name")
    def named(self, claim: Claim) -> SafeString:
        """Its name, and what it is found by."""
        return below(claim.name, claim.prefix)

    @admin.display(description="Joins", ordering="tenant__name")
    def joins(self, claim: Claim) -> SafeString:
        """Where its devices come to, and what they are."""
        return below(claim.tenant, claim.device_type)

    @admin.display(description="Only these serials")
    def serials(self, claim: Claim) -> str:
        """Its allow-list, if it has one."""
        return ", ".join(claim.hardware_ids) or "Any"


def _state(claim: Claim) -> SafeString:
    if claim.revoked_at:
        return badge("revoked")
    if claim.expires_at <= timezone.now():
        return badge("expired")
    return badge("retired", "Used up") if claim.uses >= claim.max_devices else badge("active")
