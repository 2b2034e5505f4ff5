"""API tokens over the API: for people in their browsers. No program makes tokens, which would outlive its own."""

from datetime import timedelta
from typing import Any, Final

from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.models import ApiToken, Tenant
from devices.openapi import PAGES, Refused, Tags, answer, body
from devices.people import api_tokens
from devices.people.scopes import SCOPES
from devices.repeating import KEY, once
from devices.rest import Strict, Text, handle, page

_ASKED: Final = {"name": "Reports", "tenant": "north-dairies", "scopes": ["devices:read", "readings:read"], "days": 90}
_SHOWN: Final[dict[str, Any]] = {
    "id": 5,
    "name": "Reports",
    "tenant": "north-dairies",
    "prefix": "fpa_Xq3vB81k",
    "scopes": ["devices:read", "readings:read"],
    "created_at": "2026-11-21T17:00:00Z",
    "expires_at": "2027-02-19T17:00:00Z",
    "last_used_at": None,
    "revoked_at": None,
}


class ApiTokenDocument(serializers.Serializer[Any]):
    """A token, without the token: that is shown once, when it is made."""

    id = serializers.IntegerField()
    name = serializers.CharField(help_text="What it is for.")
    tenant = serializers.CharField(help_text="The only organisation it is good in.")
    prefix = serializers.CharField(help_text="Its first characters.")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=list(SCOPES)))
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewApiTokenDocument(ApiTokenDocument):
    """A token that was just made, with the token itself."""

    token = serializers.CharField(help_text="Shown once: `fpa_…`.")


class ApiTokenRequest(Strict):
    """What a token is for, where, and what it may do."""

    name = Text(max_length=100)
    tenant = Text(max_length=63)
    scopes = serializers.ListField(child=Text(max_length=40), min_length=1, max_length=len(SCOPES))
    days = serializers.IntegerField(
        min_value=1, max_value=api_tokens.MAX_LIFETIME.days, default=api_tokens.LIFETIME.days
    )


class ApiTokenPage(serializers.Serializer[Any]):
    """A page of tokens, the newest first."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = ApiTokenDocument(many=True)


class _View(APIView):
    """A view of people: it names no scopes, so it is closed to programs."""

    def get_exception_handler(self) -> Any:
        """As everywhere, and with the way to the mistake."""
        return handle


class TokensView(_View):
    """`GET /api/v1/tokens`: mine. `POST` makes one: 201 with the token itself, this once."""

    @extend_schema(
        operation_id="list_tokens",
        tags=[Tags.TOKENS],
        summary="List your API tokens",
        description="Newest first; those that have ended, too. Never the tokens themselves.",
        parameters=PAGES,
        responses={200: answer(ApiTokenPage, {"next": None, "previous": None, "results": [_SHOWN]})},
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        found, pages = page(request, api_tokens.mine(request.user), "-id", self)
        return pages.get_paginated_response([shown(row) for row in found])

    @extend_schema(
        operation_id="create_token",
        tags=[Tags.TOKENS],
        summary="Make an API token",
        description="The token itself is in this answer and nowhere else: keep it now. Who sends an Idempotency-Key "
        "gets it once more by that key, for a day: the answer is kept encrypted by it.",
        parameters=[KEY],
        request=body(ApiTokenRequest, _ASKED),
        responses={
            201: answer(NewApiTokenDocument, _SHOWN | {"token": "fpa_…"}),
            400: Refused("invalid", "token_name", "token_scopes", "token_lifetime"),
            403: Refused("permission_denied", "not_a_member", "not_signed_in"),
            404: Refused("not_found", detail="There is no such thing, or it is not yours."),
            409: Refused("token_limit", "request_in_progress"),
            422: Refused("idempotency_key_reused"),
        },
    )
    @once
    @method_decorator(sensitive_variables("token"))
    def post(self, request: Request) -> Response:
        """Make one."""
        asked = ApiTokenRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        told = asked.validated_data
        tenant = get_object_or_404(Tenant.objects.visible_to(request.user), slug=told["tenant"])
        row, token = api_tokens.make(
            request.user, tenant, told["name"], told["scopes"], timedelta(days=told["days"]), timezone.now()
        )
        headers = {"Location": request.build_absolute_uri(f"{request.path}/{row.pk}"), "Cache-Control": "no-store"}
        return Response({**shown(row), "token": token}, status=201, headers=headers)


class ApiTokenView(_View):
    """`GET /api/v1/tokens/<id>`: one of mine. `DELETE` revokes it: 204, however often."""

    @extend_schema(
        operation_id="get_token",
        tags=[Tags.TOKENS],
        summary="Read an API token",
        description="What it may do, until when, and when it was last used.",
        responses={200: answer(ApiTokenDocument, _SHOWN)},
    )
    def get(self, request: Request, pk: int) -> Response:
        """One of them."""
        return Response(shown(_one(request, pk)))

    @extend_schema(
        operation_id="revoke_token",
        tags=[Tags.TOKENS],
        summary="Revoke an API token",
        description="It ends at once; twice is like once.",
        responses={204: answer(None, text="It is no longer good.")},
    )
    def delete(self, request: Request, pk: int) -> Response:
        """End it at once."""
        api_tokens.revoke(_one(request, pk), request.user, timezone.now())
        return Response(status=204)


def shown(row: ApiToken) -> dict[str, Any]:
    """A token as people may see it."""
    return {
        "id": row.pk,
        "name": row.name,
        "tenant": row.tenant.slug,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
        "revoked_at": row.revoked_at,
    }


def _one(request: Request, pk: int) -> ApiToken:
    row: ApiToken = get_object_or_404(api_tokens.mine(request.user), pk=pk)
    return row
