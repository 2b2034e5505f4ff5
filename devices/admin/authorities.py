"""The staff's pages of certificate authorities: what they signed, and their revocation lists. Never a key."""

from typing import Any

from cryptography import x509
from django.contrib import admin
from django.db import models
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices import broker
from devices.admin.base import COUNT_LIMIT, ReadOnlyAdmin
from devices.admin.chain import authority_badge, chain, pem_file, viewed
from devices.admin.worded_filters import either
from devices.badges import below, when
from devices.errors import CertificateError
from devices.models import Authority, Certificate


@admin.register(Authority)
class AuthorityAdmin(ReadOnlyAdmin):
    """Certificate authorities. Their keys are not here."""

    change_form_template = "admin/devices/authority/change_form.html"
    list_display = ["named", "kind", "state", "expires", "issued", "crl"]
    list_filter = ["kind", ("active", either("state", "Active", "Not active"))]
    list_select_related = ["issued_by"]
    fields = ["kind", "issued_by", "issued", "key_backend", "created_at", "crl"]
    readonly_fields = ["issued", "crl"]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """With how many certificates it signed, counted to the limit and no further."""
        signed = Certificate.objects.filter(authority=OuterRef("pk")).order_by().values("pk")[: COUNT_LIMIT + 1]
        rows: models.QuerySet[Any] = super().get_queryset(request).annotate(signed=_CountOf(signed))
        return rows

    def get_urls(self) -> list[URLPattern]:
        """The PEM to take away."""
        ours = path("<path:object_id>/pem/", self.admin_site.admin_view(self.pem), name="devices_authority_pem")
        return [ours, *super().get_urls()]

    def pem(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The authority's certificate."""
        row = viewed(self, request, object_id)
        return pem_file(row.certificate, f"authority-{row.pk}")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The row and its chain."""
        row = self.get_object(request, object_id)
        if row is None or not self.has_view_permission(request, row):
            return super().change_view(request, object_id, form_url, extra_context)
        told = {"title": row.name, "subtitle": None, "chain": chain(row, timezone.now())}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    @admin.display(description="Name, issued by", ordering="name")
    def named(self, authority: Authority) -> SafeString | str:
        """Its name, and whose signature it carries."""
        return below(authority.name, authority.issued_by) if authority.issued_by else authority.name

    @admin.display(description="State", ordering="active")
    def state(self, authority: Authority) -> SafeString:
        """Does it issue?"""
        return authority_badge(authority, timezone.now())

    @admin.display(description="Expires", ordering="not_after")
    def expires(self, authority: Authority) -> SafeString | str:
        """Its end."""
        return when(authority.not_after)

    @admin.display(description="Certificates")
    def issued(self, authority: Authority) -> SafeString | str:
        """How many devices' certificates it signed."""
        count: int = authority.signed  # type: ignore[attr-defined]
        if authority.kind != Authority.Kind.ISSUING:
            return "—"
        url = reverse("admin:devices_certificate_changelist") + f"?authority__id__exact={authority.pk}&ends=all"
        return format_html('<a href="{}">{}</a>', url, f"{count:,}" if count <= COUNT_LIMIT else f"{COUNT_LIMIT:,}+")

    @admin.display(description="Revocation list")
    def crl(self, authority: Authority) -> SafeString | str:
        """The list as everybody may fetch it, its number, and when the next one must have followed."""
        if authority.kind != Authority.Kind.ISSUING:
            return "—"
        try:
            until = x509.load_der_x509_crl(broker.crl_der(authority.pk)).next_update_utc
        except CertificateError:
            return "There is none yet"
        url = reverse("crl", args=[authority.pk])
        link = format_html('<a href="{}">{}</a>', url, url.rsplit("/", 1)[1])
        return below(link, format_html("number {}, good until {}", authority.crl_number, when(until)))


class _CountOf(Subquery):
    """How many rows a subquery finds."""

    template = "(SELECT count(*) FROM (%(subquery)s) counted)"
    output_field = models.IntegerField()
