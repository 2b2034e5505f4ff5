"""Exports for apps and pages: asked for, watched, fetched, removed. Everything by the one tenancy rule."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.db.models import QuerySet
from django.http import FileResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from devices.api.base import single
from devices.people.scopes import READINGS_READ
from devices.problems import refusal
from devices.repeating import once
from devices.rest import Strict, Text, handle, page
from telemetry import described
from telemetry.api import MomentField
from telemetry.exporting import exports
from telemetry.models import Export

_BLOCK = 256 * 1024
_TYPES = {
    Export.Format.CSV: "text/csv; charset=utf-8; header=present",
    Export.Format.PARQUET: "application/vnd.apache.parquet",
}


class ExportRequest(Strict):
    """What is asked for."""

    devices = serializers.ListField(child=Text(max_length=63), min_length=1, max_length=exports.MAX_DEVICES)
    since = MomentField()
    until = MomentField()
    format = serializers.ChoiceField(Export.Format.choices, default=Export.Format.CSV)
    resolution = serializers.ChoiceField(Export.Resolution.choices, default=Export.Resolution.READING)


class _View(APIView):
    scopes = dict.fromkeys(("GET", "POST", "DELETE"), READINGS_READ)

    def get_exception_handler(self) -> Any:
        """As everywhere, with the way to the mistake."""

        def told(error: Exception, context: dict[str, Any]) -> Response | None:
            if isinstance(error, exports.ExportError) and error.path:
                told = exports.ExportError(f"{error.path}: {error.detail}", error.code, error.status)
                return refusal(told, path=error.path)
            return handle(error, context)

        return told


def rows(user: Any) -> QuerySet[Export]:
    """What this person may see, with what `shown` looks at."""
    found: QuerySet[Export] = (
        Export.objects.visible_to(user).select_related("tenant", "requested_by").prefetch_related("devices")
    )
    return found


class ExportsView(_View):
    """`GET /api/v1/exports`: newest first, by cursor. `POST` has one made: 202 with `Location`.

    `{"devices": ["d-…"], "since": …, "until": …, "format": "csv" | "parquet", "resolution": "reading" | "minute" |
    "hour"}`; devices of one tenant, at most 200, and at most 400 days. Problem details with `path`: invalid,
    device_unknown, several_tenants, range_empty, range_too_long, range_too_old (400); too_many_exports,
    exports_full (429).
    """

    @described.EXPORTS
    def get(self, request: Request) -> Response:
        """A page of them."""
        found, pages = page(request, rows(request.user), "-id", self)
        return pages.get_paginated_response([shown(each, request) for each in found])

    @described.export_asked(ExportRequest)
    @once
    def post(self, request: Request) -> Response:
        """Have one made."""
        asked = ExportRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        told = asked.validated_data
        export = exports.request(
            request.user, told["devices"], told["since"], told["until"], told["format"], told["resolution"],
            timezone.now(),
        )  # fmt: skip
        body = shown(rows(request.user).get(pk=export.pk), request)
        return Response(body, status=202, headers={"Location": body["url"]})


class ExportView(_View):
    """`GET /api/v1/exports/<id>`: how far it is. `DELETE` ends it and removes its file: 204, however often."""

    @described.EXPORT
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """One export."""
        return single(request, shown(get_object_or_404(rows(request.user), pk=pk), request))

    @described.EXPORT_REMOVED
    def delete(self, request: Request, pk: int) -> Response:
        """By whoever asked for it, and staff with the right."""
        export = get_object_or_404(rows(request.user), pk=pk)
        if not exports.may_remove(export, request.user):
            raise PermissionDenied
        exports.remove(export, request.user, timezone.now())
        return Response(status=204)


class ExportFileView(_View):
    """`GET /api/v1/exports/<id>/file`: the file. 410 (export_gone) before it is made and after it has expired."""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Nothing is negotiated: who asks for the type of the file gets it. Problems are JSON."""
        renderer = self.get_renderers()[0]
        return renderer, renderer.media_type

    @described.EXPORT_FILE
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """Send it, a block at a time."""
        export = get_object_or_404(rows(request.user), pk=pk)
        file = exports.open_file(export)
        headers = {
            "Content-Type": _TYPES[Export.Format(export.format)],
            "Content-Disposition": f'attachment; filename="{file_name(export)}"',
            "Content-Length": str(export.size),
            "Cache-Control": "private, no-store",
        }
        if isinstance(request._request, ASGIRequest):
            return StreamingHttpResponse(_blocks(file), headers=headers)
        return FileResponse(file, as_attachment=True, filename=file_name(export), headers=headers)


async def _blocks(file: IO[Any]) -> AsyncGenerator[bytes, None]:
    """Its bytes; a slow reader holds no database connection meanwhile."""
    try:
        await sync_to_async(_let_go)()
        while block := await asyncio.to_thread(file.read, _BLOCK):
            yield block
    finally:
        with suppress(OSError):
            file.close()


def _let_go() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def file_name(export: Export) -> str:
    """What it is called on somebody's disk."""
    days = f"{export.since:%Y-%m-%d}-to-{export.until:%Y-%m-%d}"
    return f"{export.tenant.slug}-{export.resolution}s-{days}-{export.pk}.{export.format}"


def shown(export: Export, request: Request) -> dict[str, Any]:
    """An export as a document."""
    by = export.requested_by
    # Which of our people helped is nobody's business outside.
    name = "" if by is None else "staff" if by.is_staff and not request.user.is_staff else by.get_username()
    return {
        "id": export.pk,
        "url": reverse("export", [export.pk], request=request),
        "file_url": reverse("export-file", [export.pk], request=request) if export.is_there else None,
        "tenant": export.tenant.slug,
        "devices": sorted(each.device_id for each in export.devices.all()),
        "since": export.since,
        "until": export.until,
        "format": export.format,
        "resolution": export.resolution,
        "state": export.state,
        "percent": 100 if export.state == Export.State.DONE else export.percent,
        "rows": export.rows,
        "size": export.size,
        "error": export.error,
        "requested_by": name,
        "created_at": export.created_at,
        "finished_at": export.finished_at,
        "expires_at": export.expires_at,
    }
