"""Where devices are and which belong together, for apps: sites and groups."""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from devices import evidence
from devices.api.base import (
    UNCHANGED,
    View,
    documents,
    question,
    require,
    require_somewhere,
    single,
    tenant_named,
    told,
    visible,
)
from devices.errors import DeviceError
from devices.models import Group, Site
from devices.models.tenant import validate_timezone
from devices.openapi import ETAG, IF_MATCH_NEEDED, IF_NONE_MATCH, LOCATION, PAGES, Refused, Tags, answer, body, paged
from devices.people.scopes import DEVICES_READ, DEVICES_WRITE
from devices.repeating import KEY, once
from devices.rest import Strict, Text, check_match, page, require_match

_FIELDS = ("name", "region", "timezone")


class SiteDocument(serializers.Serializer[Any]):
    """A place where devices are."""

    id = serializers.IntegerField()
    url = serializers.URLField()
    tenant = serializers.CharField(help_text="Slug.")
    name = serializers.CharField()
    region = serializers.CharField(allow_blank=True)
    timezone = serializers.CharField(help_text="Of the people there (IANA).")


class SiteRequest(Strict):
    """A place. What is left out of a change stays as it is."""

    name = Text(max_length=200)
    region = Text(max_length=100, allow_blank=True, default="")
    timezone = Text(max_length=64, validators=[validate_timezone], default="UTC", help_text="IANA: Europe/Berlin.")


class NewSiteRequest(SiteRequest):
    """A new place."""

    tenant = Text(max_length=63, default="", allow_blank=True, help_text="Slug; needed where you have several.")


class GroupDocument(serializers.Serializer[Any]):
    """Some devices of a tenant, named."""

    id = serializers.IntegerField()
    tenant = serializers.CharField(help_text="Slug.")
    name = serializers.CharField()


class PlacesRequest(serializers.Serializer[Any]):
    """Whose."""

    tenant = serializers.CharField(max_length=63, required=False, help_text="Slug.")


_SITE = {
    "id": 4,
    "url": "https://portal.example.com/api/v1/sites/4",
    "tenant": "acme",
    "name": "Hamburg",
    "region": "North",
    "timezone": "Europe/Berlin",
}
_GROUP = {"id": 2, "tenant": "acme", "name": "Kitchen"}


def _site(site: Site, request: Request) -> dict[str, Any]:
    return {
        "id": site.pk,
        "url": reverse("api-site", [site.pk], request=request),
        "tenant": site.tenant.slug,
        **{name: getattr(site, name) for name in _FIELDS},
    }


def _of_tenant(rows: QuerySet[Any], request: Request) -> QuerySet[Any]:
    asked = question(PlacesRequest, request)
    rows = rows.visible_to(request.user).select_related("tenant")  # type: ignore[attr-defined]
    return rows.filter(tenant__slug=asked["tenant"]) if "tenant" in asked else rows


def _taken() -> DeviceError:
    return DeviceError("There is a site of this name already.", "name_taken", 409)


class SitesView(View):
    """`/api/v1/sites`: the places of my tenants, and one more."""

    scopes = {"GET": DEVICES_READ, "POST": DEVICES_WRITE}

    @extend_schema(
        operation_id="list_sites",
        summary="List sites",
        tags=[Tags.DEVICES],
        parameters=[PlacesRequest, *PAGES],
        responses={200: answer(paged(SiteDocument), {"next": None, "previous": None, "results": [_SITE]})},
    )
    def get(self, request: Request) -> Response:
        """A page of them, by name."""
        found, pages = page(request, _of_tenant(Site.objects.all(), request), ("name", "id"), self)
        return pages.get_paginated_response(documents(SiteDocument, [_site(each, request) for each in found]))

    @extend_schema(
        operation_id="add_site",
        summary="Add a site",
        tags=[Tags.DEVICES],
        parameters=[KEY, LOCATION],
        request=body(NewSiteRequest, {"name": "Hamburg", "timezone": "Europe/Berlin"}),
        responses={
            201: answer(SiteDocument, _SITE),
            409: Refused("name_taken", "request_in_progress"),
            422: Refused("idempotency_key_reused"),
        },
    )
    @once
    def post(self, request: Request) -> Response:
        """A place of one of my tenants."""
        require_somewhere(request, DEVICES_WRITE)
        said = told(NewSiteRequest, request)
        tenant = tenant_named(request, said.pop("tenant"), DEVICES_WRITE)
        require(request, DEVICES_WRITE, tenant.pk, "devices.add_site")
        try:
            with transaction.atomic():
                site = Site.objects.create(tenant=tenant, **said)
                detail = {"site": site.pk, **said}
                evidence.record("site.added", tenant=tenant, user=request.user, detail=detail)
        except IntegrityError as error:
            raise _taken() from error
        document = _site(site, request)
        return Response(document, status=201, headers={"Location": document["url"]})


class SiteView(View):
    """`/api/v1/sites/<site>`: one place."""

    scopes = {"GET": DEVICES_READ, "PATCH": DEVICES_WRITE}

    @extend_schema(
        operation_id="get_site",
        summary="One site",
        tags=[Tags.DEVICES],
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: answer(SiteDocument, _SITE), 304: UNCHANGED},
    )
    def get(self, request: Request, site: int) -> HttpResponseBase:
        """Show it."""
        return single(request, _site(visible(Site.objects.select_related("tenant"), request, pk=site), request))

    @extend_schema(
        operation_id="edit_site",
        summary="Change a site",
        tags=[Tags.DEVICES],
        parameters=[IF_MATCH_NEEDED, ETAG],
        request=body(SiteRequest, {"name": "Hamburg, quay 3"}),
        responses={
            200: answer(SiteDocument, _SITE | {"name": "Hamburg, quay 3"}),
            409: Refused("name_taken"),
            412: Refused("precondition_failed"),
            428: Refused("precondition_required"),
        },
    )
    def patch(self, request: Request, site: int) -> HttpResponseBase:
        """`If-Match` must name the ETag of what you looked at."""
        try:
            with transaction.atomic():
                rows = Site.objects.select_related("tenant").select_for_update(of=("self",))
                row = visible(rows, request, pk=site)
                require(request, DEVICES_WRITE, row.tenant_id, "devices.change_site")
                require_match(request)
                said = told(SiteRequest, request, partial=True)
                check_match(request, single(request, _site(row, request)).headers["ETag"])
                changed = [name for name in said if said[name] != getattr(row, name)]
                if changed:
                    before = {name: getattr(row, name) for name in changed}
                    for name in changed:
                        setattr(row, name, said[name])
                    row.save(update_fields=changed)
                    detail = {"site": site, "before": before, "after": {name: said[name] for name in changed}}
                    evidence.record("site.edited", tenant=row.tenant, user=request.user, detail=detail)
        except IntegrityError as error:
            raise _taken() from error
        return single(request, _site(row, request))


class GroupsView(View):
    """`GET /api/v1/groups`: what devices of my tenants are grouped by."""

    scopes = {"GET": DEVICES_READ}

    @extend_schema(
        operation_id="list_groups",
        summary="List groups",
        tags=[Tags.DEVICES],
        parameters=[PlacesRequest, *PAGES],
        responses={200: answer(paged(GroupDocument), {"next": None, "previous": None, "results": [_GROUP]})},
    )
    def get(self, request: Request) -> Response:
        """A page of them, by name."""
        found, pages = page(request, _of_tenant(Group.objects.all(), request), ("name", "id"), self)
        rows = [{"id": each.pk, "tenant": each.tenant.slug, "name": each.name} for each in found]
        return pages.get_paginated_response(documents(GroupDocument, rows))
