"""The list of devices for apps. It joins rooms: what is being updated is known by firmware."""

from typing import Any

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api.base import documents, question
from devices.api.devices import EXAMPLE, AddingView, DeviceDocument, shown, whole
from devices.models import Device, DeviceType, Tenant
from devices.openapi import PAGES, Tags, answer, paged
from devices.querysets import DeviceQuerySet
from devices.rest import page
from devices.tenancy import sees_all
from firmware.models import Update

ORDERS = {"name": ("name", "device_id"), "device_id": ("device_id",)}
ORDERS |= {f"-{name}": tuple(f"-{each}" for each in order) for name, order in ORDERS.items()}


def _choice(text: str, longest: int = 63) -> serializers.CharField:
    return serializers.CharField(max_length=longest, required=False, help_text=text)


def _number(text: str) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False, help_text=text)


class DevicesRequest(serializers.Serializer[Any]):
    """Which devices: all of what is given must hold."""

    q = _choice("A part of the name, or the whole device id or hardware id.", 200)
    state = serializers.ChoiceField(choices=Device.State.choices, required=False)
    online = serializers.BooleanField(required=False, help_text="Is it connected?")
    updating = serializers.BooleanField(required=False, help_text="Is an update of its firmware under way?")
    tenant = _choice("Slug of the tenant.")
    type = _choice("Slug of the device type.")
    site = _number("Id of the site.")
    group = _number("Id of the group.")
    tag = _choice("One of its tags.")
    firmware = _choice("The version that it runs.", 100)
    ordering = serializers.ChoiceField(choices=list(ORDERS), default="name")


_LOOKUPS = {
    "state": "state",
    "online": "presence__online",
    "site": "site",
    "group": "groups",
    "firmware": "presence__firmware_version",
}


def narrowed(rows: DeviceQuerySet, asked: dict[str, Any]) -> DeviceQuerySet:
    """Those of them that were asked for."""
    rows = rows.filter(**{lookup: asked[name] for name, lookup in _LOOKUPS.items() if name in asked})
    # Looked up before: the database knows how many devices a number has, of a slug it knows nothing.
    for name, kind, lookup in (("tenant", Tenant, "tenant"), ("type", DeviceType, "device_type")):
        if name in asked:
            pk = kind.objects.filter(slug=asked[name]).values_list("pk", flat=True).first()
            rows = rows.filter(**{lookup: pk}) if pk else rows.none()
    if "tag" in asked:
        rows = rows.filter(tags__contains=[asked["tag"]])
    if "q" in asked:
        text = asked["q"]
        rows = rows.filter(Q(name__icontains=text) | Q(device_id=text) | Q(hardware_id__iexact=text))
    if "updating" in asked:
        active = Update.objects.active().values("device")
        rows = rows.filter(pk__in=active) if asked["updating"] else rows.exclude(pk__in=active)
    return rows


class DevicesView(AddingView):
    """`/api/v1/devices`: all of mine, and one more."""

    @extend_schema(
        operation_id="list_devices",
        summary="List devices",
        tags=[Tags.DEVICES],
        parameters=[DevicesRequest, *PAGES],
        responses={200: answer(paged(DeviceDocument), {"next": None, "previous": None, "results": [EXAMPLE]})},
    )
    def get(self, request: Request) -> Response:
        """A page of them, by name or by id."""
        asked = question(DevicesRequest, request)
        rows = narrowed(_mine(request), asked)
        found, pages = page(request, whole(rows), ORDERS[asked["ordering"]], self)
        return pages.get_paginated_response(documents(DeviceDocument, [shown(each, request) for each in found]))


def _mine(request: Request) -> DeviceQuerySet:
    """As everywhere. The tenants are told as numbers, so that the database knows how many devices to expect."""
    if sees_all(request.user):
        return Device.objects.visible_to(request.user)
    tenants = Tenant.objects.visible_to(request.user).order_by().values_list("pk", flat=True)
    return Device.objects.filter(tenant__in=list(tenants))
