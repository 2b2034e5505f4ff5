"""What the views of this room have in common: who may, which tenant, and answers that say whether they changed."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.cache import get_conditional_response
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.exceptions import MethodNotAllowed, PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.models import Tenant
from devices.people import access
from devices.people.permissions import Scoped
from devices.rest import etag
from devices.tenancy import sees_all

UNCHANGED = OpenApiResponse(description="It still is what the ETag in `If-None-Match` names.")
"""For `responses=` of what may be asked for conditionally."""


class Known(Scoped):
    """Somebody who signed in, or a program of theirs with whatever scope."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """An active person?"""
        return bool(request.user and request.user.is_authenticated and request.user.is_active)


class View(APIView):
    """A view for people and their programs."""

    def check_permissions(self, request: Request) -> None:
        """A method that nobody has is not a question of scope."""
        if (request.method or "") not in self.allowed_methods:
            raise MethodNotAllowed(request.method or "")
        super().check_permissions(request)


def question(kind: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """What the address asks, validated; said twice, the last one counts."""
    asked = kind(data=request.query_params.dict())
    asked.is_valid(raise_exception=True)
    return dict(asked.validated_data)


def told(kind: type[serializers.Serializer[Any]], request: Request, **options: Any) -> dict[str, Any]:
    """What the body says, validated."""
    document = kind(data=request.data, **options)
    document.is_valid(raise_exception=True)
    return dict(document.validated_data)


def require(request: Request, scope: str, tenant_id: int, permission: str) -> None:
    """May they do it in this tenant? Members by their role, staff by the permission. Raises PermissionDenied."""
    if sees_all(request.user) and not request.user.has_perm(permission):
        raise PermissionDenied
    if not access.may(request.user, scope, tenant_id, request.auth):
        raise PermissionDenied


def require_somewhere(request: Request, scope: str) -> None:
    """May they do it in any tenant at all? Who may not is not told what is wrong with the body."""
    if not access.tenants(request.user, scope).exists():
        raise PermissionDenied


def tenant_named(request: Request, slug: str, scope: str) -> Tenant:
    """The tenant that something is for: named, or the only one where this person may. Raises ValidationError."""
    rows = Tenant.objects.visible_to(request.user)
    if slug:
        row = rows.filter(slug=slug).first()
        if row is None:
            raise ValidationError({"tenant": ["There is no such tenant."]})
        return row
    found = list(access.tenants(request.user, scope)[:2])
    if len(found) != 1:
        raise ValidationError({"tenant": ["You have several: say which."]})
    return found[0]


def single(request: Request, plan: dict[str, Any], figures: dict[str, Any] | None = None) -> HttpResponseBase:
    """One thing with its ETag, or 304. `figures` move by themselves: a change is not conditional on them."""
    tag = etag(plan, figures)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.method in ("GET", "HEAD") and "If-None-Match" in request.headers:
        unchanged = get_conditional_response(request._request, etag=tag, response=HttpResponse(headers=headers))
        if unchanged is not None and unchanged.status_code == 304:
            return unchanged
    return Response(plan | (figures or {}), headers=headers)


def visible(rows: QuerySet[Any], request: Request, **key: Any) -> Any:
    """The row, if this person may see it. Raises Http404."""
    if any("\0" in value for value in key.values() if isinstance(value, str)):
        raise Http404
    return get_object_or_404(rows.visible_to(request.user), **key)  # type: ignore[attr-defined]


def documents(kind: type[serializers.Serializer[Any]], rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as the description of the API has them: a name that it lacks is left out, one that is missing fails."""
    return [kind(row).data for row in rows]
