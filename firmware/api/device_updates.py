"""A device's updates for apps, newest first."""

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api.base import View, documents, visible
from devices.models import Device
from devices.openapi import PAGES, Tags, answer, paged
from devices.people.scopes import FIRMWARE_READ
from devices.rest import page
from devices.tenancy import sees_all
from firmware.api.answers import OwnUpdate
from firmware.api.showing import own_update
from firmware.models import Update
from firmware.states import ACTIVE

_EXAMPLE = {
    "device_id": "d-7f3kq2m9xw",
    "version": "1.4.2",
    "from_version": "1.4.1",
    "state": "succeeded",
    "waiting": "",
    "reason_code": "",
    "text": "installed",
    "progress": None,
    "offered_at": "2026-11-20T02:00:10Z",
    "ended_at": "2026-11-20T02:09:41Z",
    "changed_at": "2026-11-20T02:09:41Z",
}


class DeviceUpdatesView(View):
    """`GET /api/v1/devices/<device_id>/updates`: those that were offered to it, or will be."""

    scopes = {"GET": FIRMWARE_READ}

    @extend_schema(
        operation_id="list_device_updates",
        summary="Updates of a device",
        tags=[Tags.DEVICES],
        parameters=[*PAGES],
        responses={200: answer(paged(OwnUpdate), {"next": None, "previous": None, "results": [_EXAMPLE]})},
    )
    def get(self, request: Request, device_id: str) -> Response:
        """A page of them."""
        device = visible(Device.objects.all(), request, device_id=device_id)
        rows = Update.objects.filter(device=device).select_related("device", "release")
        if not sees_all(request.user):
            rows = rows.filter(Q(offered_at__isnull=False) | Q(state__in=ACTIVE))
        found, pages = page(request, rows, "-id", self)
        return pages.get_paginated_response(documents(OwnUpdate, [own_update(each) for each in found]))
