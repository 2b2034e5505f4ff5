"""The staff's pages of releases: uploaded with their signatures, judged anew whenever somebody looks, put away."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices.admin.base import COUNT_LIMIT, with_reason
from devices.admin.chain import viewed
from devices.badges import badge, below, short, when
from firmware import releases, signing, trust
from firmware.admin.files import image_file, sbom_file, signature_file
from firmware.admin.keys import state_badge as key_badge
from firmware.admin.refusals import MadeByUseCase, tried
from firmware.admin.release_form import ReleaseForm
from firmware.errors import FirmwareError
from firmware.models import Campaign, Release, Signature, TrustedKey, Verified

_CAMPAIGNS = 20


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature, as the page shows it."""

    signature: Signature
    state: SafeString
    by_openssl: str
    by_cosign: str


@admin.register(Release)
class ReleaseAdmin(MadeByUseCase):
    """Versions of firmware. A release is uploaded, perhaps archived, and never changed."""

    form = ReleaseForm
    add_form_template = "admin/firmware/release/add_form.html"
    change_form_template = "admin/firmware/release/change_form.html"
    list_display = ["version", "state_shown", "types", "signed", "used", "file", "uploaded"]
    help_texts = {"needs_mains": "Not offered to devices that run on battery."}
    list_filter = ["state", ("device_types", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["artifact", "created_by"]
    search_fields = ["=version", "=artifact__sha256", "=artifact__file_name"]
    search_help_text = "The whole version, file name, or SHA-256 of the image"
    autocomplete_fields = ["tenants"]
    actions = ["archive"]
    _asked = [
        ("What it is", {"fields": ["version", "device_types", "file", "notes"]}),
        ("Who vouches for it", {"fields": ["signatures", "signature_text", "sbom"]}),
        (
            "Where it may be installed",
            {"fields": ["min_version", "min_battery_percent", "needs_mains", "min_free_bytes", "tenants"]},
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With its types, and how many signed and use it."""
        signed = Signature.objects.filter(artifact__release=OuterRef("pk")).order_by().values("artifact__release")
        good = Signature.objects.filter(artifact__release=OuterRef("pk"), key__revoked_at__isnull=True)
        used = Campaign.objects.filter(release=OuterRef("pk")).order_by().values("release")
        rows = super().get_queryset(request).prefetch_related("device_types")
        counted: QuerySet[Any] = rows.annotate(
            signatures_made=Coalesce(Subquery(signed.annotate(n=Count("pk")).values("n")), 0),
            vouched=Exists(good),
            campaigns_made=Coalesce(Subquery(used.annotate(n=Count("pk")).values("n")), 0),
        )
        return counted

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """What is asked when it is uploaded; its page shows the rest in its own way."""
        return [(None, {"fields": []})] if obj else self._asked

    def has_archive_permission(self, request: HttpRequest) -> bool:
        """Rows are never edited; the right to change them is the right to archive."""
        return request.user.has_perm("firmware.change_release")

    def save_model(self, request: HttpRequest, obj: Release, form: ReleaseForm, change: bool) -> None:
        """Take it in by the use case, the image chunk by chunk."""
        told = form.cleaned_data
        signatures = form.all_signatures()
        made = releases.upload(
            form.draft(),
            told["file"].chunks(),
            list(signatures),
            timezone.now(),
            names=list(signatures.values()),
            sbom=told["sbom"].read() if told["sbom"] else b"",
            user=request.user,
        )
        obj.__dict__.update(made.__dict__)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """With whose signatures count today."""
        now = timezone.now()
        keys = TrustedKey.objects.filter(revoked_at__isnull=True, not_before__lte=now, not_after__gt=now)
        told = {"title": "Upload a release", "keys": keys.prefetch_related("device_types")[:_CAMPAIGNS]}
        return super().add_view(request, form_url, {**told, **(extra_context or {})})

    def response_post_save_add(self, request: HttpRequest, obj: Release) -> HttpResponseRedirect:
        """To its page."""
        return HttpResponseRedirect(reverse("admin:firmware_release_change", args=[obj.pk]))

    @admin.action(description="Archive…", permissions=["archive"])
    def archive(self, request: HttpRequest, queryset: QuerySet[Release]) -> HttpResponse | None:
        """Out of use. The file stays: it is evidence."""
        now = timezone.now()

        def carry_out(row: Release, reason: str) -> bool:
            return tried(request, row, lambda: releases.archive(row, request.user, reason, now))

        notes = [
            "No new campaign can be made of it. Its file, signatures and history stay.",
            "Refused while a campaign of it is not over, or a device may have to be taken back to it.",
        ]
        told: dict[str, Any] = {"about": _about, "notes": lambda: notes}
        return with_reason(self, request, queryset.select_related("artifact"), "Archive", carry_out, **told)

    def get_urls(self) -> list[URLPattern]:
        """What can be taken away: the image, the bill of materials, each signature."""
        view = self.admin_site.admin_view
        ours = [
            path("<path:object_id>/file/", view(self.file_view), name="firmware_release_file"),
            path("<path:object_id>/sbom/", view(self.sbom_view), name="firmware_release_sbom"),
            path("<path:object_id>/signature/<int:pk>/", view(self.signature_view), name="firmware_release_signature"),
        ]
        return [*ours, *super().get_urls()]

    def file_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The image, as it was signed."""
        row = viewed(self, request, object_id)
        return self._stored(request, row, lambda: image_file(request, row))

    def sbom_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The bill of materials."""
        row = viewed(self, request, object_id)
        if not row.sbom_sha256:
            raise Http404
        return self._stored(request, row, lambda: sbom_file(row))

    def _stored(self, request: HttpRequest, row: Release, file: Callable[[], HttpResponseBase]) -> HttpResponseBase:
        try:
            return file()
        except FirmwareError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(reverse("admin:firmware_release_change", args=[row.pk]))

    def signature_view(self, request: HttpRequest, object_id: str, pk: int) -> HttpResponse:
        """One signature, raw; with `?text` in Base64, as cosign wants it."""
        row = viewed(self, request, object_id)
        found = Signature.objects.filter(artifact__release=row, pk=pk).first()
        if found is None:
            raise Http404
        return signature_file(found, row.artifact.file_name, text="text" in request.GET)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Its digests, who signed, how to check that by hand, and where it goes."""
        row = self.get_object(request, object_id)
        if row is None or not self.has_view_permission(request, row):
            return super().change_view(request, object_id, form_url, extra_context)
        now = timezone.now()
        verified = Verified.objects.filter(release=row).order_by()[: COUNT_LIMIT + 1].count()
        told = {
            "title": f"Release {row.version}",
            "subtitle": None,
            "buttons": self.buttons(request, "archive") if row.state == Release.State.READY else [],
            "problems": trust.check_release(row, now),
            "signatures": [
                Signed(each, key_badge(each.key, now), *_commands(row, each))
                for each in row.artifact.signatures.select_related("key").order_by("pk")
            ],
            "campaigns": row.campaigns.order_by("-pk")[:_CAMPAIGNS],
            "more": max(row.campaigns_made - _CAMPAIGNS, 0),
            "tenants": row.tenants.all(),
            "verified": f"{verified:,}" if verified <= COUNT_LIMIT else f"{COUNT_LIMIT:,}+",
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    @admin.display(description="State", ordering="state")
    def state_shown(self, row: Release) -> SafeString:
        """May it be rolled out?"""
        return badge(row.state, row.get_state_display())

    @admin.display(description="Device types")
    def types(self, row: Release) -> str:
        """Hardware it is made for."""
        return ", ".join(str(each) for each in row.device_types.all())

    @admin.display(description="Signatures", ordering="signatures_made")
    def signed(self, row: Release) -> SafeString:
        """How many, and whether any key of them is left."""
        count, vouched = row.signatures_made, row.vouched  # type: ignore[attr-defined]
        return below(count, badge("revoked", "Keys revoked")) if count and not vouched else format_html("{}", count)

    @admin.display(description="Campaigns", ordering="campaigns_made")
    def used(self, row: Release) -> int:
        """How often it was rolled out."""
        count: int = row.campaigns_made  # type: ignore[attr-defined]
        return count

    @admin.display(description="File", ordering="artifact__size")
    def file(self, row: Release) -> SafeString:
        """Its size, and how its digest begins."""
        return below(filesizeformat(row.artifact.size), short(row.artifact.sha256))

    @admin.display(description="Uploaded", ordering="pk")
    def uploaded(self, row: Release) -> SafeString:
        """When, and by whom."""
        return below(when(row.created_at), row.created_by or row.uploaded_by or "—")


def _about(row: Release) -> str:
    return f"{row.version} ({row.artifact.file_name}, SHA-256 {row.artifact.sha256[:12]}…)"


def _commands(row: Release, each: Signature) -> tuple[str, str]:
    """What somebody types who trusts no portal: with the three files of this line beside each other."""
    name, key = row.artifact.file_name, f"firmware-key-{each.key.fingerprint[:12]}.pem"
    files = f"-sigfile {name}.sig -in {name}.manifest -inkey {key}"
    manifest = f"sha256sum {name} > {name}.manifest\n"
    if each.key.algorithm == signing.ED25519:
        return manifest + f"openssl pkeyutl -verify -pubin -rawin {files}", ""
    return (
        manifest + f"openssl dgst -sha256 -verify {key} -signature {name}.sig {name}.manifest",
        manifest + f"cosign verify-blob --key {key} --insecure-ignore-tlog --signature {name}.sig.txt {name}.manifest",
    )
