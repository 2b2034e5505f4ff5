"""Releases over HTTP: a build server or a person brings one in; staff look at them."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import BaseAuthentication
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from devices import access_tokens, problems
from devices.api.base import single
from devices.errors import DomainError
from devices.models import DeviceType, Tenant
from devices.people import api_tokens
from devices.throttles import Throttle
from firmware import files, releases, sboms, sending, trust, upload_tokens
from firmware.api import described, queries
from firmware.api.base import Allowed, View, page
from firmware.api.release_documents import RELATED, ReleaseRequest, shown
from firmware.errors import FirmwareError
from firmware.models import Release, UploadToken

PATHS = {
    "version_invalid": "$.version",
    "version_taken": "$.version",
    "min_version_invalid": "$.min_version",
    "device_types_missing": "$.device_types",
    "device_type_unknown": "$.device_types",
    "out_of_scope": "$.device_types",
    "tenant_unknown": "$.tenants",
    "file_name": "$.file",
    "empty": "$.file",
    "too_large": "$.file",
    "sbom_invalid": "$.sbom",
    "unsigned": "$.signature",
    "signature_unknown": "$.signature",
    "signature_revoked": "$.signature",
    "signature_expired": "$.signature",
    "signature_out_of_scope": "$.signature",
}
"""Where the mistake is, by error code."""


class UploadTokenAuthentication(BaseAuthentication):
    """Puts the row of an upload token into `request.auth`. Who sends a token is judged by it, signed in or not.

    Tokens of people's programs are left to who knows them: to call a good one unknown would sign its app out.
    """

    @sensitive_variables("authorization", "token")
    def authenticate(self, request: Request) -> tuple[AnonymousUser, UploadToken] | None:
        """Raises `FirmwareError` (token_refused, 401)."""
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return None
        scheme, _, token = authorization.strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or token.startswith(api_tokens.PREFIX) or access_tokens.looks_like_one(token):
            return None
        return AnonymousUser(), upload_tokens.of(token, timezone.now())

    def authenticate_header(self, request: Request) -> str:
        """What a refused caller is asked for."""
        return 'Bearer realm="releases"'


class Uploads(Allowed):
    """A token uploads and does nothing else; people need the permission for what they do."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """May they?"""
        if _token(request):
            return request.method == "POST"
        return super().has_permission(request, view)


class PerUploader(Throttle):
    """So many uploads of one token, or of one person."""

    def get_cache_key(self, request: Request, view: APIView) -> str:
        """One count each."""
        token = _token(request)
        who = f"token:{token.pk}" if token else f"user:{request.user.pk}"
        return f"throttle:{self.scope}:{who}"


class ReleasesView(View):
    """`POST /api/v1/releases`, multipart: bring in a release. `GET`: those that are there, newest first.

    Parts: version, device_types (once for each), file, signature (a file or Base64; one or more); and if you like
    min_version, notes, tenants, min_battery_percent, needs_mains, min_free_bytes, sbom (CycloneDX or SPDX, JSON, at
    most 10 MiB). With `Authorization: Bearer fpu_…` for the token's device types, or by staff who may add releases.
    The signature is over the line `<sha256 hex>  <file name>` with its line feed, by a trusted key.

    201 with the release and its `Location`; 200 when it is there already with the same file: repeat as you like.
    Problem details whose `path` leads to the mistake: invalid, version_invalid, min_version_invalid, file_name,
    device_types_missing, device_type_unknown, tenant_unknown, empty, sbom_invalid, unsigned, signature_unknown,
    signature_revoked, signature_expired, signature_out_of_scope, parse_error (400); token_refused (401);
    out_of_scope, permission_denied (403); version_taken (409); too_large (413); unsupported_media_type (415);
    throttled (429); store_unavailable (503).
    """

    authentication_classes = (UploadTokenAuthentication, *APIView.authentication_classes)
    permission_classes = (Uploads,)
    parser_classes = (MultiPartParser,)
    throttle_scope = "upload"

    def permission(self, request: Request) -> str:
        """To add, or to look."""
        return "add_release" if request.method == "POST" else "view_release"

    def get_throttles(self) -> list[BaseThrottle]:
        """Uploads only."""
        return [PerUploader()] if self.request.method == "POST" else []

    def handle_exception(self, exc: Exception) -> Response:
        """What Django says of a body that it cannot take apart, in the words of the API."""
        if isinstance(exc, RequestDataTooBig):
            exc = FirmwareError("All fields but the files together have at most 1 MiB.", "too_large", 413)
        elif isinstance(exc, (SuspiciousOperation, MultiPartParserError)):
            exc = FirmwareError("The body is not multipart/form-data as it should be.", "parse_error", 400)
        elif isinstance(exc, OSError):
            exc = FirmwareError("The file cannot be stored now.", "store_unavailable", 503)
        return super().handle_exception(exc)

    def get_exception_handler(self) -> Any:
        """As everywhere in this room, and with the way to what a use case refuses."""
        usual = super().get_exception_handler()

        def handle(error: Exception, context: dict[str, Any]) -> Response | None:
            if isinstance(error, DomainError) and error.code in PATHS:
                return problems.problem(error.status, error.code, error.detail, path=PATHS[error.code])
            answer: Response | None = usual(error, context)
            if answer is not None and answer.status_code == 401:
                answer["WWW-Authenticate"] = 'Bearer realm="releases"'
            return answer

        return handle

    @described.RELEASES
    def get(self, request: Request) -> Response:
        """A page of releases; `version`, `device_type` (slug) and `state` narrow it down."""
        asked = queries.told(queries.ReleasesQuery, request)
        told = {name: value for name, value in asked.items() if value}
        if slug := told.pop("device_type", ""):
            told["compatibilities__device_type__slug"] = slug
        rows = Release.objects.visible_to(request.user).filter(artifact__isnull=False, **told)
        found, pages = page(request, rows.prefetch_related(*RELATED), "-id", self)
        return pages.get_paginated_response([shown(row, request) for row in found])

    @described.UPLOADED
    def post(self, request: Request) -> Response:
        """Bring one in."""
        asked = ReleaseRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        told = asked.validated_data
        file, sbom = told["file"], told.get("sbom")
        if sbom is not None and sbom.size > sboms.MAX_BYTES:
            raise FirmwareError(f"A bill of materials has at most {sboms.MAX_BYTES} bytes.", "sbom_invalid", 400)
        token = _token(request)
        draft = releases.Draft(
            version=told["version"],
            device_types=_device_types(request, told["device_types"]),
            file_name=file.name,
            tenants=_tenants(told["tenants"]),
            **{name: told[name] for name in _AS_TOLD},
        )
        try:
            release = releases.upload(
                draft,
                file.chunks(),
                told["signature"],
                timezone.now(),
                sbom=sbom.read() if sbom else b"",
                user=None if token else request.user,
                uploaded_by=token.name if token else "",
            )
            status = 201
        except releases.AlreadyThereError as error:
            release, status = error.release, 200
        body = shown(_fetched(release.pk), request)
        return Response(body, status=status, headers={"Location": body["url"]})


_AS_TOLD = ("min_version", "notes", "min_battery_percent", "needs_mains", "min_free_bytes")


class ReleaseView(View):
    """`GET /api/v1/releases/<id>`: one release; `problems` tells why it could not be trusted now."""

    needs = "view_release"

    @described.RELEASE
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """Show it."""
        rows = Release.objects.visible_to(request.user).filter(artifact__isnull=False)
        release = get_object_or_404(rows.prefetch_related(*RELATED), pk=pk)
        return single(request, shown(release, request), {"problems": trust.check_release(release, timezone.now())})


class ReleaseFileView(View):
    """Base of what answers with a file: nothing is negotiated."""

    needs = "view_release"

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Problem details, where there is a problem, are JSON."""
        renderer = self.get_renderers()[0]
        return renderer, renderer.media_type


class ReleaseArtifactView(ReleaseFileView):
    """`GET|HEAD /api/v1/releases/<id>/artifact`: its file, for staff; ranges as at the devices' door."""

    @described.ARTIFACT
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """Send it."""
        rows = Release.objects.visible_to(request.user).select_related("artifact")
        release = get_object_or_404(rows, pk=pk, artifact__isnull=False)
        return sending.artifact(request._request, release.artifact, f"user:{request.user.pk}")


class ReleaseSbomView(ReleaseFileView):
    """`GET /api/v1/releases/<id>/sbom`: its bill of materials, as it was uploaded."""

    @described.SBOM
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """Send it."""
        rows = Release.objects.visible_to(request.user).exclude(sbom_sha256="")
        release = get_object_or_404(rows, pk=pk)
        headers = {"Content-Disposition": f'attachment; filename="{release.sbom_name}"'}
        with files.open_file(release.sbom_sha256) as file:
            return HttpResponse(file.read(), content_type="application/json", headers=headers)


def _token(request: Request) -> UploadToken | None:
    known: Any = request.auth
    return known if isinstance(known, UploadToken) else None


def _device_types(request: Request, slugs: list[str]) -> list[DeviceType]:
    """The device types of these names that the caller may upload for. Raises `FirmwareError`."""
    token = _token(request)
    rows = token.device_types.all() if token else DeviceType.objects.visible_to(request.user)
    found = list(rows.filter(slug__in=slugs).order_by("slug"))
    if missing := sorted(set(slugs) - {each.slug for each in found}):
        if token:
            raise FirmwareError(f"This token may not upload for {missing[0]!r}.", "out_of_scope", 403)
        raise FirmwareError(f"There is no device type {missing[0]!r}.", "device_type_unknown", 400)
    return found


def _tenants(slugs: list[str]) -> list[Tenant]:
    found = list(Tenant.objects.filter(slug__in=slugs).order_by("slug"))
    if missing := sorted(set(slugs) - {each.slug for each in found}):
        raise FirmwareError(f"There is no tenant {missing[0]!r}.", "tenant_unknown", 400)
    return found


def _fetched(pk: int) -> Release:
    """What was uploaded just now; who may upload it may see it."""
    return Release.objects.prefetch_related(*RELATED).get(pk=pk)
