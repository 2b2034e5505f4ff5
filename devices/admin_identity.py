"""The staff's pages about identity: claims, certificates, authorities."""

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from devices import certificates, claims, evidence
from devices.admin_base import FleetAdmin, ReadOnlyAdmin, with_reason
from devices.badges import badge
from devices.models import Authority, Certificate, Claim
from devices.tasks import shut_out


@admin.register(Claim)
class ClaimAdmin(FleetAdmin):
    """Bootstrap credentials; a token is shown once, when it is made."""

    list_display = ["name", "prefix", "tenant", "device_type", "uses", "max_devices", "expires_at", "state"]
    list_filter = ["device_type", ("tenant", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["tenant", "device_type"]
    search_fields = ["name", "prefix"]
    autocomplete_fields = ["tenant", "device_type", "site"]
    actions = ["revoke"]
    _asked = ["name", "tenant", "device_type", "site", "hardware_ids", "max_devices", "expires_at"]
    _told = ["prefix", "uses", "revoked_at", "created_by", "created_at"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """What is asked when it is made, and what came of it."""
        return [*self._asked, *self._told] if obj else self._asked

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A claim that is out in the world is not edited, only revoked."""
        return [*self._asked, *self._told] if obj else []

    def save_model(self, request: HttpRequest, obj: Claim, form: Any, change: bool) -> None:
        """Make it by the use case, and show the token."""
        if change:
            return
        now = timezone.now()
        claim, token = claims.make_claim(
            tenant=obj.tenant,
            device_type=obj.device_type,
            site=obj.site,
            name=obj.name,
            hardware_ids=obj.hardware_ids,
            max_devices=obj.max_devices,
            lifetime=obj.expires_at - now,
            now=now,
            user=request.user,
        )
        obj.pk = claim.pk
        messages.warning(request, f"The token, shown this once: {token}")

    @admin.display(description="State")
    def state(self, claim: Claim) -> SafeString:
        """Does it still admit devices?"""
        if claim.revoked_at:
            return badge("revoked")
        if claim.expires_at <= timezone.now():
            return badge("expired")
        return badge("retired", "Used up") if claim.uses >= claim.max_devices else badge("active")

    @admin.action(description="Revoke selected claims", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Claim]) -> None:
        """No further device joins by them; those that have joined stay."""
        for claim in queryset.select_related("tenant").filter(revoked_at__isnull=True):
            Claim.objects.filter(pk=claim.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
            evidence.record("claim.revoked", tenant=claim.tenant, user=request.user, detail={"claim": claim.prefix})
        messages.success(request, "Revoked.")


@admin.register(Certificate)
class CertificateAdmin(ReadOnlyAdmin):
    """Certificates by expiry; history is never overwritten."""

    list_display = ["serial", "device", "state_badge", "not_after", "first_seen_at", "authority"]
    list_filter = ["state", "authority"]
    list_select_related = ["device", "authority"]
    search_fields = ["=serial", "=device__device_id", "=fingerprint"]
    ordering = ["not_after"]
    exclude = ["state"]
    readonly_fields = ["state_badge"]
    actions = ["revoke"]

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to revoke."""
        return request.user.has_perm("devices.change_certificate")

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Certificate]) -> HttpResponse | None:
        """For good: on the CRL, live sessions cut."""
        now = timezone.now()

        def carry_out(certificate: Certificate, reason: str) -> bool:
            with transaction.atomic():
                changed = certificates.revoke(certificate, reason, request.user, now)
                if changed:
                    transaction.on_commit(lambda: shut_out.delay(certificate.device.device_id))
            return changed

        return with_reason(self, request, queryset.select_related("device__tenant"), "Revoke", carry_out)

    @admin.display(description="State", ordering="state")
    def state_badge(self, certificate: Certificate) -> SafeString:
        """Life-cycle state."""
        return badge(certificate.state, certificate.get_state_display())


@admin.register(Authority)
class AuthorityAdmin(ReadOnlyAdmin):
    """Certificate authorities. Their keys are not here."""

    list_display = ["name", "kind", "active", "not_after", "issued_by"]
    list_select_related = ["issued_by"]
    exclude = ["key_name"]
