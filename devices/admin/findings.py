"""The staff's page of findings: what is wrong, and what may be done about it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices import certificates, claims, findings, lifecycle, runbooks
from devices.admin.base import ReadOnlyAdmin, ask_reason, where_from, with_reason
from devices.admin.shutting_out import ShutOut
from devices.admin.worded_filters import empty, worded
from devices.badges import badge, below, when
from devices.errors import DeviceError
from devices.models import Claim, Device, Finding, Suppression
from devices.templatetags.fleet import words

DAYS = 30
"""How long a suppression is proposed to last (days)."""


@admin.register(Finding)
class FindingAdmin(ReadOnlyAdmin):
    """What somebody should look at. It is not edited, but resolved, suppressed, or its cause is dealt with."""

    list_display = ["what", "standing", "whom", "detail", "count", "last_seen", "runbook"]
    csv_columns = [
        "kind", "severity_badge", "state_badge", "device", "subject", "detail", "count", "last_seen_at", "runbook",
    ]  # fmt: skip
    list_filter = [
        ("resolved_at", empty("state", "Open", "Resolved")),
        "severity",
        ("kind", worded(admin.AllValuesFieldListFilter, "kind", words)),
    ]
    list_select_related = ["device"]
    search_fields = ["=kind", "device__device_id__exact", "=subject"]
    search_help_text = "A whole kind, device id or subject"
    readonly_fields = ["what", "severity_badge", "state_badge", "runbook"]
    exclude = ["kind", "severity"]
    actions = ["resolve", "suppress", "quarantine", "revoke", "freeze"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With whether a suppression keeps each quiet."""
        quiet = Suppression.objects.filter(
            Q(device__isnull=True) | Q(device=OuterRef("device")),
            Q(subject="") | Q(subject=OuterRef("subject")),
            kind=OuterRef("kind"),
            expires_at__gt=timezone.now(),
        )
        rows: QuerySet[Any] = super().get_queryset(request).annotate(quiet=Exists(quiet))
        return rows

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        """The right to change findings."""
        return request.user.has_perm("devices.change_finding")

    def has_suppress_permission(self, request: HttpRequest) -> bool:
        """The right to make suppressions."""
        return request.user.has_perm("devices.add_suppression")

    def has_quarantine_permission(self, request: HttpRequest) -> bool:
        """As on the devices' page; and who may take a certificate away for good may do the lesser thing."""
        return request.user.has_perm("devices.change_device") or self.has_revoke_permission(request)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """As on the certificates' page."""
        return request.user.has_perm("devices.change_certificate")

    def has_freeze_permission(self, request: HttpRequest) -> bool:
        """As on the claims' page."""
        return request.user.has_perm("devices.change_claim")

    @admin.action(description="Resolve…", permissions=["resolve"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Finding]) -> HttpResponse | None:
        """Seen and dealt with; if it happens again, a new finding opens."""
        now = timezone.now()
        return self._act(
            request, queryset, "Resolve", lambda row, reason: findings.resolve(row, reason, request.user, now)
        )

    @admin.action(description="Suppress for some days…", permissions=["suppress"])
    def suppress(self, request: HttpRequest, queryset: QuerySet[Finding]) -> HttpResponse | None:
        """Known and accepted for a while: not raised again until then."""
        rows = queryset.select_related("device__tenant")
        answer = ask_reason(self, request, rows, "Suppress", about=_about)
        if not isinstance(answer, str):
            answer.template_name = "admin/suppress.html"
            longest = findings.LONGEST_SUPPRESSION.days
            answer.context_data = {**(answer.context_data or {}), "days": DAYS, "longest": longest}
            return answer
        now = timezone.now()
        try:
            until = now + timedelta(days=int(request.POST.get("days", "")))
            with transaction.atomic():
                for row in rows:
                    findings.suppress(
                        row.kind,
                        device=row.device,
                        subject=row.subject,
                        reason=answer,
                        until=until,
                        user=request.user,
                        now=now,
                    )
        except (ValueError, OverflowError):
            messages.error(request, "Say for how many days.")
        except DeviceError as error:
            messages.error(request, error.detail)
        else:
            messages.success(request, f"Suppressed until {until:%Y-%m-%d}.")
        return where_from(self, request)

    @admin.action(description="Quarantine the devices…", permissions=["quarantine"])
    def quarantine(self, request: HttpRequest, queryset: QuerySet[Finding]) -> HttpResponse | None:
        """Leave them only `status` and `cmd`."""

        def carry_out(device: Device, reason: str) -> bool:
            return lifecycle.quarantine(device, reason, request.user)

        return self._to_devices(request, queryset, "Quarantine the devices", carry_out)

    @admin.action(description="Revoke their certificates…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Finding]) -> HttpResponse | None:
        """For good: every certificate that is still valid, on the CRL; live sessions cut."""
        now = timezone.now()

        def carry_out(device: Device, reason: str) -> bool:
            valid = device.certificates.filter(revoked_at__isnull=True, not_after__gt=now)
            return (
                sum(certificates.revoke(each, reason, request.user, now) for each in valid) > 0
            )  # each, not the first

        return self._to_devices(request, queryset, "Revoke the certificates", carry_out)

    @admin.action(description="Freeze: revoke the claims they joined by…", permissions=["freeze"])
    def freeze(self, request: HttpRequest, queryset: QuerySet[Finding]) -> HttpResponse | None:
        """Nobody else joins by the same claim; those that have joined stay."""

        def carry_out(row: Finding, reason: str) -> bool:
            claim = _claim(row)
            return claim is not None and claims.revoke(claim, reason, request.user, timezone.now())

        return self._act(request, queryset, "Revoke the claims", carry_out, about=_about_claim)

    def _act(
        self,
        request: HttpRequest,
        queryset: QuerySet[Finding],
        verb: str,
        carry_out: Callable[[Finding, str], bool],
        afterwards: Callable[[], None] = lambda: None,
        about: Callable[[Finding], str] | None = None,
    ) -> HttpResponse | None:
        rows = queryset.select_related("device__tenant", "device__claim__tenant")
        return with_reason(self, request, rows, verb, carry_out, afterwards=afterwards, about=about or _about)

    def _to_devices(
        self, request: HttpRequest, queryset: QuerySet[Finding], verb: str, use_case: Callable[[Device, str], bool]
    ) -> HttpResponse | None:
        """Do something to the findings' devices; then, after the commit, have them shut out."""
        gone = ShutOut(request)

        def carry_out(finding: Finding, reason: str) -> bool:
            if finding.device is None:
                return False
            with transaction.atomic():
                changed = use_case(finding.device, reason)
            if changed:
                gone.add(finding.device.device_id)
            return changed

        return self._act(request, queryset, verb, carry_out, gone.after_commit)

    @admin.display(description="Kind", ordering="kind")
    def what(self, finding: Finding) -> str:
        """In words."""
        return words(finding.kind)

    @admin.display(description="Severity, state", ordering="severity")
    def standing(self, finding: Finding) -> SafeString:
        """How bad it is, and whether it still is."""
        return format_html("{} {}", self.severity_badge(finding), self.state_badge(finding))

    @admin.display(description="Device, subject")
    def whom(self, finding: Finding) -> SafeString | str:
        """The device, and what else it is about."""
        if finding.device is None:
            return finding.subject or "—"
        address = reverse("admin:devices_device_change", args=[finding.device.pk])
        device = format_html('<a href="{}">{}</a>', address, finding.device)
        return below(device, finding.subject) if finding.subject else device

    @admin.display(description="Last seen", ordering="last_seen_at")
    def last_seen(self, finding: Finding) -> SafeString | str:
        """When it was last found."""
        return when(finding.last_seen_at)

    @admin.display(description="Severity", ordering="severity")
    def severity_badge(self, finding: Finding) -> SafeString:
        """How bad it is."""
        return badge(finding.severity, finding.get_severity_display())

    @admin.display(description="State", ordering="resolved_at")
    def state_badge(self, finding: Any) -> SafeString:
        """Open, resolved, or kept quiet."""
        if finding.quiet:
            return badge("retired", "Suppressed")
        return badge("active", "Resolved") if finding.resolved_at else badge("pending", "Open")

    @admin.display(description="Runbook")
    def runbook(self, finding: Finding) -> SafeString:
        """The page that helps; where the index does, its line about this kind."""
        page = runbooks.page(finding.kind)
        address = reverse("admin:runbook", args=[page])
        if page == runbooks.INDEX:
            return format_html('<a href="{}#{}">First step</a>', address, finding.kind)
        return format_html('<a href="{}">{}</a>', address, words(page.removesuffix(".md").replace("-", "_")))


def _about(finding: Finding) -> str:
    device = finding.device
    named = f"{device} ({device.device_id}, {device.tenant})" if device else ""
    return " · ".join(filter(None, (words(finding.kind), named, finding.subject)))


def _about_claim(finding: Finding) -> str:
    """Which claim it would revoke, and how many devices it was made for: others may still wait to join by it."""
    claim = _claim(finding)
    if claim is None:
        return f"{words(finding.kind)}: no claim is known, nothing is revoked"
    return f"{claim} of {claim.tenant}: {claim.uses} of {claim.max_devices} have joined · {_about(finding)}"


def _claim(finding: Finding) -> Claim | None:
    """The claim a finding is about, or its device joined by."""
    if finding.device:
        return finding.device.claim
    if not finding.kind.startswith("claim_"):
        return None
    return Claim.objects.select_related("tenant").filter(prefix=finding.subject).first()
