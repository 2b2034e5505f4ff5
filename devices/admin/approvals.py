"""The staff's page of devices that wait for a person. Who decides here decides whom the portal believes."""

from functools import partial
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.contrib import admin
from django.db import models
from django.db.models import Case, F, OuterRef, Q, QuerySet, Subquery, When
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices import approvals, chains, renewals
from devices.admin.base import ReadOnlyAdmin, with_reason
from devices.admin.worded_filters import either
from devices.badges import badge, below, short, when
from devices.models import Approval, Certificate, Device

_WAITING = Q(state=Approval.State.PENDING)


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """Those that wait first, the longest waiting at the top; then what was decided, newest first."""

    change_form_template = "admin/devices/approval/change_form.html"
    list_display = ["hardware_id", "state_badge", "why", "joins", "key", "asked"]
    list_filter = [
        "state",
        "cause",
        ("attested", either("attestation", "Attested", "Not attested")),
        ("claim__device_type", admin.RelatedOnlyFieldListFilter),
        ("claim__tenant", admin.RelatedOnlyFieldListFilter),
    ]
    list_select_related = ["claim__tenant", "claim__device_type", "device"]
    search_fields = ["=hardware_id", "device__device_id__exact", "=key_fingerprint"]
    search_help_text = "The whole hardware id, device id, or fingerprint of the key"
    ordering = [Case(When(_WAITING, then="asked_at")).asc(nulls_last=True), "-asked_at"]
    fields = ["decided_by", "decided_at", "certificate", "reason"]
    actions = ["approve", "reject"]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """With the certificate that a new key of a known device would replace."""
        in_use = Certificate.objects.trusted(timezone.now()).filter(device=OuterRef("device"))
        newest = in_use.order_by(F("last_seen_at").desc(nulls_last=True), "-pk")
        rows: models.QuerySet[Any] = (
            super().get_queryset(request).annotate(present=Subquery(newest.values("serial")[:1]))
        )
        return rows

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to decide."""
        return request.user.has_perm("devices.change_approval")

    @admin.action(description="Approve…", permissions=["decide"])
    def approve(self, request: HttpRequest, queryset: QuerySet[Approval]) -> HttpResponse | None:
        """Let them in: each gets its certificate when it asks again."""
        return self._decide(request, queryset, "Approve", approve=True)

    @admin.action(description="Reject…", permissions=["decide"])
    def reject(self, request: HttpRequest, queryset: QuerySet[Approval]) -> HttpResponse | None:
        """Keep them out: this key is refused by this claim for good."""
        return self._decide(request, queryset, "Reject", approve=False)

    def _decide(
        self, request: HttpRequest, rows: QuerySet[Approval], verb: str, *, approve: bool
    ) -> HttpResponse | None:
        def carry_out(row: Approval, reason: str) -> bool:
            return approvals.decide(row, approve=approve, user=request.user, reason=reason, now=timezone.now())

        rows = rows.select_related("claim__tenant", "claim__device_type", "device__tenant")
        return with_reason(self, request, rows, verb, carry_out, about=_told, notes=partial(_notes, rows, approve))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The row, what it would replace, and the request that the device signed."""
        row = self.get_object(request, object_id)
        if row is None or not self.has_view_permission(request, row):
            return super().change_view(request, object_id, form_url, extra_context)
        waits = row.state == Approval.State.PENDING
        known = row.device and Device.objects.select_related("tenant", "presence").get(pk=row.device_id)
        told = {
            "buttons": self.buttons(request, "approve", "reject") if waits else [],
            "title": f"Approval of {row.hardware_id}",
            "subtitle": None,
            "waits": waits,
            "known": known,
            "is_new_key": row.cause == Approval.Cause.NEW_KEY,
            "present": renewals.current(known, timezone.now()) if known and waits else None,
            "request_facts": _facts(row),
            "key_fingerprint": chains.pairs(row.key_fingerprint),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    @admin.display(description="State", ordering="state")
    def state_badge(self, approval: Approval) -> SafeString:
        """Does it still wait?"""
        return badge(approval.state, approval.get_state_display())

    @admin.display(description="Why it waits", ordering="cause")
    def why(self, approval: Approval) -> SafeString:
        """A known device with a new key stands out: somebody may be taking its place."""
        if approval.cause != Approval.Cause.NEW_KEY or approval.device is None:
            return format_html("{}", approval.get_cause_display())
        present: str = approval.present  # type: ignore[attr-defined]
        return format_html(
            '{} of <a href="{}">{}</a><br><span class="quiet">{} {}</span>',
            badge("warning", "New key"),
            reverse("admin:devices_device_change", args=[approval.device.pk]),
            approval.device,
            "replaces" if present else "has no certificate in use",
            short(present) if present else "",
        )

    @admin.display(description="Joins by", ordering="claim__name")
    def joins(self, approval: Approval) -> SafeString:
        """The claim, and where it leads."""
        claim = approval.claim
        url = reverse("admin:devices_claim_change", args=[claim.pk])
        return format_html(
            '<a href="{}">{}</a><br><span class="quiet">{} · {}</span>',
            url,
            claim.name,
            claim.tenant,
            claim.device_type,
        )

    @admin.display(description="Asked", ordering="asked_at")
    def asked(self, approval: Approval) -> SafeString:
        """The first time and the last: one that asks no more has given up."""
        return below(when(approval.asked_at), format_html("last {}", when(approval.last_asked_at)))

    @admin.display(description="Key")
    def key(self, approval: Approval) -> SafeString:
        """Fingerprint of the key, and whether the maker vouches for the device."""
        vouched = badge("info", "Attested") if approval.attested else ""
        return below(short(approval.key_fingerprint, 8), vouched)


def _told(row: Approval) -> str:
    if row.cause == Approval.Cause.NEW_KEY and row.device:
        return f"{row.hardware_id}: a new key for {row.device} ({row.device.device_id}) of {row.device.tenant}"
    return f"{row.hardware_id}: {row.claim.device_type} of {row.claim.tenant}, claim {row.claim.name}"


def _notes(rows: QuerySet[Approval], approve: bool) -> list[str]:
    if not approve:
        return ["A rejected key stays rejected. The device may come again with another one."]
    notes = ["Each gets its certificate when it asks again, within about half a minute."]
    known = rows.filter(cause=Approval.Cause.NEW_KEY).count()
    if known:
        notes.append(
            f"New keys of known devices among them: {known}. The present certificate of such a device stays valid until"
            " the new one has been seen in use, then it is retired."
        )
    return notes


def _facts(row: Approval) -> dict[str, str]:
    """What stands in the request; its text was checked before it was kept."""
    try:
        request = x509.load_pem_x509_csr(row.csr.encode())
    except ValueError:
        return {}
    algorithm = request.signature_hash_algorithm
    return {
        "Subject": request.subject.rfc4514_string() or "—",
        "Key": chains.key_name(request.public_key()),
        "Signed with": algorithm.name.upper() if isinstance(algorithm, hashes.HashAlgorithm) else "the key's own hash",
    }
