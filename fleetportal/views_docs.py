"""The API's front door: what it has, its description for programs, and the same as a page for people."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.openapi import ETAG, IF_NONE_MATCH, Refused, Tags, answer
from fleetportal.openapi import pages, routes
from fleetportal.openapi.document import written

_PUBLIC = "public, max-age=300"


class _Yaml(JSONRenderer):
    """What is negotiated; the text is made once (document.py)."""

    media_type, format = "application/yaml", "yaml"


class IndexView(APIView):
    """`GET /api/v1/`: what this API has, as URL templates."""

    scopes: dict[str, str] = {}

    @extend_schema(
        operation_id="get_index",
        tags=[Tags.API],
        summary="List what there is",
        description="Addresses by name, as URL templates (RFC 6570).",
        responses={
            200: answer(
                {"type": "object", "additionalProperties": {"type": "string"}},
                {"devices_url": "https://portal.example.com/api/v1/devices{?limit,cursor}"},
            )
        },
    )
    def get(self, request: Request) -> Response:
        """All routes that can be read."""
        return Response(routes.templates(request.build_absolute_uri("/")))


class SchemaView(APIView):
    """`GET /api/v1/schema`, for everybody: this API as OpenAPI 3.1, as JSON or (`?format=yaml`) as YAML."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()
    renderer_classes = (JSONRenderer, _Yaml)

    @extend_schema(
        operation_id="get_schema",
        tags=[Tags.API],
        summary="Read this description",
        description="OpenAPI 3.1, as JSON or YAML. It changes with a new version of the portal and not between.",
        parameters=[
            OpenApiParameter("format", str, enum=["json", "yaml"], description="Instead of `Accept`."),
            IF_NONE_MATCH,
            ETAG,
        ],
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "application/yaml"): OpenApiTypes.OBJECT,
            304: answer(None, text="It is still the one that you have."),
            404: Refused("not_found", detail="There is no such format."),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        """The description, or 304."""
        if request.query_params.get("format") == "":
            raise Http404  # as any other format that there is not
        renderer: Any = request.accepted_renderer
        text, etag = written(renderer.format)
        headers = {"Cache-Control": _PUBLIC, "ETag": etag, "Vary": "Accept"}
        full = HttpResponse(text, content_type=renderer.media_type, headers=headers)
        return get_conditional_response(request._request, etag, None, full) or full


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """The description as a page, for everybody."""
    return render(request, "api_docs.html", {"content": pages.content()})
