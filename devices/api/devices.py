"""One device for apps: read, named, tagged and placed; and added by the code that came with it."""

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from devices import claim_codes, editing
from devices.api.base import UNCHANGED, View, require, require_somewhere, single, tenant_named, told, visible
from devices.models import Device, Site
from devices.models.fields import validate_part
from devices.openapi import ETAG, IF_MATCH_NEEDED, IF_NONE_MATCH, LOCATION, Refused, Tags, answer, body
from devices.people.scopes import DEVICES_READ, DEVICES_WRITE
from devices.repeating import KEY, once
from devices.rest import Strict, Text, check_match, require_match
from devices.throttles import address_of

RELATED = ("tenant", "device_type", "site", "presence")
CHANGE = "devices.change_device"


class NamedDocument(serializers.Serializer[Any]):
    """Something with a name."""

    id = serializers.IntegerField()
    name = serializers.CharField()


class DeviceDocument(serializers.Serializer[Any]):
    """A device: who it is, where it is, and how it is."""

    device_id = serializers.CharField(help_text="Minted by the portal; never changes.")
    url = serializers.URLField()
    tenant = serializers.CharField(help_text="Slug of the tenant whose it is.")
    device_type = serializers.CharField(help_text="Slug of its type.")
    hardware_id = serializers.CharField(help_text="The maker's serial number.")
    name = serializers.CharField(allow_blank=True)
    site = NamedDocument(allow_null=True)
    groups = NamedDocument(many=True)
    tags = serializers.ListField(child=serializers.CharField())
    state = serializers.ChoiceField(choices=Device.State.choices)
    created_at = serializers.DateTimeField()
    online = serializers.BooleanField()
    connection_changed_at = serializers.DateTimeField(allow_null=True, help_text="Since when it is online or offline.")
    last_seen_at = serializers.DateTimeField(allow_null=True)
    firmware_version = serializers.CharField(allow_blank=True, help_text="As it said when it last connected.")
    rssi_dbm = serializers.IntegerField(allow_null=True, help_text="Strength of its radio signal.")
    clock_skew_ms = serializers.IntegerField(allow_null=True, help_text="Above zero: its clock is behind.")


class DeviceRequest(Strict):
    """What people say of a device. What is left out stays as it is."""

    name = Text(max_length=200, allow_blank=True, required=False)
    tags = serializers.ListField(
        child=Text(max_length=63, validators=[validate_part]), max_length=editing.MOST_TAGS, required=False
    )
    site = serializers.IntegerField(min_value=1, max_value=2**63 - 1, allow_null=True, required=False)

    def validate_site(self, value: int | None) -> Site | None:
        """A place of its tenant."""
        if value is None:
            return None
        site = Site.objects.filter(pk=value, tenant=self.context["tenant_id"]).first()
        if site is None:
            raise serializers.ValidationError("There is no such site in this device's tenant.")
        return site


class CodeRequest(Strict):
    """A device that was bought."""

    code = Text(max_length=100, help_text="As printed on it; case and hyphens do not matter.")
    name = Text(max_length=200, allow_blank=True, default="")
    tenant = Text(max_length=63, default="", allow_blank=True, help_text="Slug; needed where you have several.")


EXAMPLE = {
    "device_id": "d-7f3kq2m9xw",
    "url": "https://portal.example.com/api/v1/devices/d-7f3kq2m9xw",
    "tenant": "acme",
    "device_type": "cold-room-sensor",
    "hardware_id": "SN-0001",
    "name": "Cold room 3",
    "site": {"id": 4, "name": "Hamburg"},
    "groups": [{"id": 2, "name": "Kitchen"}],
    "tags": ["cold-chain"],
    "state": "active",
    "created_at": "2026-11-01T08:00:00Z",
    "online": True,
    "connection_changed_at": "2026-11-21T06:12:44Z",
    "last_seen_at": "2026-11-21T09:30:02Z",
    "firmware_version": "1.4.2",
    "rssi_dbm": -61,
    "clock_skew_ms": 12,
}
ADDED = EXAMPLE | {"state": "registered", "online": False, "firmware_version": "", "last_seen_at": None}


def plan(device: Device, request: Request) -> dict[str, Any]:
    """What people decide of a device: what a change is conditional on."""
    return {
        "device_id": device.device_id,
        "url": reverse("api-device", [device.device_id], request=request),
        "tenant": device.tenant.slug,
        "device_type": device.device_type.slug,
        "hardware_id": device.hardware_id,
        "name": device.name,
        "site": named(device.site) if device.site else None,
        "groups": [named(group) for group in sorted(device.groups.all(), key=lambda each: each.pk)],
        "tags": device.tags,
        "state": device.state,
        "created_at": device.created_at,
    }


def figures(device: Device) -> dict[str, Any]:
    """What moves by itself."""
    presence = getattr(device, "presence", None)
    return {
        "online": bool(presence and presence.online),
        "connection_changed_at": presence.changed_at if presence else None,
        "last_seen_at": presence.last_seen_at if presence else None,
        "firmware_version": presence.firmware_version if presence else "",
        "rssi_dbm": presence.rssi_dbm if presence else None,
        "clock_skew_ms": presence.skew_ms if presence else None,
    }


def shown(device: Device, request: Request) -> dict[str, Any]:
    """All of it."""
    return plan(device, request) | figures(device)


def named(row: Any) -> dict[str, Any]:
    """Something with a name."""
    return {"id": row.pk, "name": row.name}


def whole(rows: QuerySet[Device]) -> QuerySet[Device]:
    """With all that its document asks for."""
    return rows.select_related(*RELATED).prefetch_related("groups")


class DeviceView(View):
    """`/api/v1/devices/<device_id>`: one device."""

    scopes = {"GET": DEVICES_READ, "PATCH": DEVICES_WRITE}

    @extend_schema(
        operation_id="get_device",
        summary="One device",
        tags=[Tags.DEVICES],
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: answer(DeviceDocument, EXAMPLE), 304: UNCHANGED},
    )
    def get(self, request: Request, device_id: str) -> HttpResponseBase:
        """Who it is, where it is and how it is. Its ETag changes with its connection, too; `If-Match` forgives that."""
        device = visible(whole(Device.objects.all()), request, device_id=device_id)
        return single(request, plan(device, request), figures(device))

    @extend_schema(
        operation_id="edit_device",
        summary="Name, tag or place a device",
        tags=[Tags.DEVICES],
        parameters=[IF_MATCH_NEEDED, ETAG],
        request=body(DeviceRequest, {"name": "Cold room 3", "tags": ["cold-chain"]}),
        responses={
            200: answer(DeviceDocument, EXAMPLE),
            412: Refused("precondition_failed"),
            428: Refused("precondition_required"),
        },
    )
    def patch(self, request: Request, device_id: str) -> HttpResponseBase:
        """`If-Match` must name the ETag of what you looked at: nobody's change is lost to yours."""
        with transaction.atomic():
            rows = Device.objects.select_for_update(of=("self",)).select_related("tenant", "device_type", "site")
            device = visible(rows, request, device_id=device_id)
            require(request, DEVICES_WRITE, device.tenant_id, CHANGE)
            require_match(request)
            said = told(DeviceRequest, request, partial=True, context={"tenant_id": device.tenant_id})
            check_match(request, single(request, plan(device, request)).headers["ETag"])
            kept = {name: getattr(device, name) for name in ("name", "site", "tags")}
            editing.edit(device, request.user, editing.version(device), **kept | said)
        device = whole(Device.objects.all()).get(pk=device.pk)
        return single(request, plan(device, request), figures(device))


class AddingView(View):
    """Adds a device; the list of them joins rooms, and is fleetportal/api_devices.py."""

    scopes = {"GET": DEVICES_READ, "POST": DEVICES_WRITE}

    @extend_schema(
        operation_id="add_device",
        summary="Add a device by its claim code",
        tags=[Tags.DEVICES],
        parameters=[KEY, LOCATION],
        request=body(CodeRequest, {"code": "7Q4M-9XKC-2WPA-30TD", "name": "Cold room 3"}),
        responses={
            201: answer(DeviceDocument, ADDED),
            404: Refused("code_unknown"),
            409: Refused("code_used", "code_revoked", "hardware_id_taken", "request_in_progress"),
            422: Refused("idempotency_key_reused"),
            429: Refused("throttled", "too_many_guesses"),
        },
    )
    @once
    def post(self, request: Request) -> Response:
        """The code is printed on the device. It is registered, and becomes active when the device itself joins."""
        require_somewhere(request, DEVICES_WRITE)
        said = told(CodeRequest, request)
        tenant = tenant_named(request, said["tenant"], DEVICES_WRITE)
        require(request, DEVICES_WRITE, tenant.pk, "devices.add_device")
        added = claim_codes.redeem(
            said["code"],
            tenant,
            request.user,
            timezone.now(),
            said["name"],
            address=address_of(request),
            auth=request.auth,
        )
        device = whole(Device.objects.all()).get(pk=added.pk)
        document = shown(device, request)
        return Response(document, status=201, headers={"Location": document["url"]})
