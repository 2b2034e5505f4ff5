"""The staff's pages of certificates: which end soon, what came before and after, who signed."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices import authorities, certificates
from devices.admin.base import ReadOnlyAdmin, with_reason
from devices.admin.chain import Leaf, chain, pem_file, viewed
from devices.admin.shutting_out import ShutOut
from devices.badges import badge, below, short, when
from devices.models import Certificate, Event, Renewal

_EVENTS = 20
_SUCCESSION = 10


class ExpiryFilter(admin.SimpleListFilter):
    """By the time that is left. Without a choice: what is in use, soonest end first; history is one click away."""

    title = "time left"
    parameter_name = "ends"
    _days = {"7d": 7, "30d": 30, "90d": 90}

    def __init__(self, request: HttpRequest, *told: Any) -> None:
        # Who searches, or asks for a state or a device, means every certificate of that kind.
        self._any = bool(set(request.GET) & {"q", "state__exact", "device__id__exact"})
        super().__init__(request, *told)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """In the order of urgency."""
        return [
            ("7d", "In use, ends in 7 days"),
            ("30d", "In use, ends in 30 days"),
            ("90d", "In use, ends in 90 days"),
            ("expired", "Expired"),
            ("all", "Everything ever issued"),
        ]

    def choices(self, changelist: Any) -> Any:
        """Django's, its first one under its true name."""
        first, *others = super().choices(changelist)
        yield {**first, "display": "Any" if self._any else "In use"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Only certificates that a door lets in can end too soon; those are found by an index, from now on."""
        now, value = timezone.now(), self.value()
        if value in self._days:
            return queryset.trusted(now).filter(not_after__lte=now + timedelta(days=self._days[value]))  # type: ignore[attr-defined, no-any-return]
        if value == "expired":
            return queryset.filter(not_after__lte=now)
        if value == "all" or self._any:
            return queryset
        return queryset.trusted(now)  # type: ignore[attr-defined, no-any-return]


@admin.register(Certificate)
class CertificateAdmin(ReadOnlyAdmin):
    """Certificates by expiry; history is never overwritten."""

    change_form_template = "admin/devices/certificate/change_form.html"
    list_display = [
        "short_serial",
        "whose",
        "state_badge",
        "expires",
        "renews",
        "successor",
    ]
    list_filter = [ExpiryFilter, "state", "authority"]
    list_select_related = ["device__tenant", "authority", "replaced_by"]
    search_fields = ["serial__exact", "device__device_id__exact", "fingerprint__exact", "key_fingerprint__exact"]
    search_help_text = "The whole serial number, device id, or fingerprint of certificate or key"
    ordering = ["not_after"]
    fields = [
        "device",
        "state_badge",
        "authority",
        ("first_seen_at", "last_seen_at"),
        ("renew_at", "not_after"),
        ("revoked_at", "reason"),
        "key_fingerprint",
        "created_at",
    ]
    readonly_fields = ["state_badge"]
    actions = ["revoke"]

    def get_search_results(self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str) -> Any:
        """Serials and fingerprints as OpenSSL prints them, too: in capitals, with colons."""
        hexadecimal = search_term.replace(":", "").lower()
        term = hexadecimal if set(hexadecimal) <= set("0123456789abcdef") else search_term
        return super().get_search_results(request, queryset, term)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """With the certificate that is to come after, whether seen already or not."""
        coming = Renewal.objects.filter(certificate=OuterRef("pk"), successor__isnull=False).order_by("-pk")
        rows: models.QuerySet[Any] = (
            super()
            .get_queryset(request)
            .annotate(
                coming=Subquery(coming.values("successor__serial")[:1]),
                coming_pk=Subquery(coming.values("successor")[:1]),
            )
        )
        return rows

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to revoke."""
        return request.user.has_perm("devices.change_certificate")

    @admin.action(description="Revoke…", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Certificate]) -> HttpResponse | None:
        """For good: on the CRL, live sessions cut."""
        now, gone = timezone.now(), ShutOut(request)

        def carry_out(certificate: Certificate, reason: str) -> bool:
            changed = certificates.revoke(certificate, reason, request.user, now)
            if changed:
                gone.add(certificate.device.device_id)
            return changed

        return with_reason(
            self,
            request,
            queryset.select_related("device__tenant"),
            "Revoke",
            carry_out,
            afterwards=gone.after_commit,
            about=lambda row: (
                f"{row.serial} of {row.device} ({row.device.device_id}), {row.get_state_display().lower()}"
            ),
            notes=lambda: [
                "A revoked certificate is never trusted again, and neither is its key.",
                "A live session with it ends within seconds. Without another certificate the device must enrol anew.",
            ],
        )

    def get_urls(self) -> list[URLPattern]:
        """The PEM to take away."""
        ours = path("<path:object_id>/pem/", self.admin_site.admin_view(self.pem), name="devices_certificate_pem")
        return [ours, *super().get_urls()]

    def pem(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The certificate; with `?chain` those above it too, as a device sends them."""
        row = viewed(self, request, object_id)
        above = authorities.chain(row.authority) if "chain" in request.GET else ""
        return pem_file(row.pem + above, f"{row.device.device_id}-{row.serial[:12]}{'-chain' if above else ''}")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The row, its chain and its history."""
        row, now = self.get_object(request, object_id), timezone.now()
        if row is None or not self.has_view_permission(request, row):
            return super().change_view(request, object_id, form_url, extra_context)
        row = Certificate.objects.select_related("device__tenant", "authority__issued_by", "replaced_by").get(pk=row.pk)
        told = {
            "buttons": self.buttons(request, "revoke") if row.is_trusted(now) else [],
            "title": f"Certificate of {row.device}",
            "subtitle": None,
            "chain": chain(
                row.authority, now, Leaf("Device", str(row.device), row.pem, _state(row), row.revoked_at is not None)
            ),
            "predecessors": row.replaces.order_by("-pk")[:_SUCCESSION],
            "renewals": Renewal.objects.filter(models.Q(certificate=row) | models.Q(successor=row)).select_related(
                "certificate", "successor"
            )[:_SUCCESSION],
            "events": Event.objects.filter(
                device=row.device_id, kind__startswith="certificate.", detail__serial=row.serial
            )[:_EVENTS],
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    @admin.display(description="Serial, signed by", ordering="serial")
    def short_serial(self, certificate: Certificate) -> SafeString:
        """Its first characters, all of it being on the page behind; and its authority."""
        return below(short(certificate.serial), certificate.authority)

    @admin.display(description="Expires", ordering="not_after")
    def expires(self, certificate: Certificate) -> SafeString | str:
        """Its end."""
        return when(certificate.not_after)

    @admin.display(description="Renew at", ordering="renew_at")
    def renews(self, certificate: Certificate) -> SafeString | str:
        """From when on the device is asked for a new one."""
        return when(certificate.renew_at)

    @admin.display(description="Device, tenant", ordering="device__name")
    def whose(self, certificate: Certificate) -> SafeString:
        """The device, and whose it is."""
        return below(certificate.device, certificate.device.tenant)

    @admin.display(description="State", ordering="state")
    def state_badge(self, certificate: Certificate) -> SafeString:
        """Life-cycle state."""
        return _state(certificate)

    @admin.display(description="Successor")
    def successor(self, certificate: Certificate) -> SafeString | str:
        """What replaced it, or was issued to replace it and is not seen yet."""
        after = certificate.replaced_by
        serial, pk = (after.serial, after.pk) if after else (certificate.coming, certificate.coming_pk)  # type: ignore[attr-defined]
        if not serial:
            return "—"
        url = reverse("admin:devices_certificate_change", args=[pk])
        link = format_html('<a href="{}">{}</a>', url, short(serial))
        return link if after else below(link, "not seen yet")


def _state(certificate: Certificate) -> SafeString:
    return badge(certificate.state, certificate.get_state_display())
