"""What is known of one device's past, for apps: events, and its certificates."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api.base import View, documents, question, visible
from devices.models import Certificate, Device, Event
from devices.openapi import PAGES, Tags, answer, paged
from devices.people.scopes import DEVICES_READ
from devices.rest import page
from devices.tenancy import sees_all

_TOLD = ("reported.", "device.edited")
"""Kinds of events whose details are written for the device's owner; those of others are our own notes."""


class EventDocument(serializers.Serializer[Any]):
    """Something that happened to a device. Never changed or deleted."""

    id = serializers.IntegerField()
    at = serializers.DateTimeField(help_text="When it happened, by the clock of whoever says so.")
    recorded_at = serializers.DateTimeField()
    kind = serializers.CharField(help_text="E.g. device.edited; `reported.…`: the device says so.")
    actor = serializers.CharField(allow_blank=True, help_text="A person, the device, or a part of the portal.")
    reason = serializers.CharField(allow_blank=True)
    detail: Any = serializers.JSONField(help_text="What there is to know; its names depend on the kind.")


class CertificateDocument(serializers.Serializer[Any]):
    """A certificate of a device, from its request to its end."""

    serial = serializers.CharField(help_text="Hex.")
    fingerprint = serializers.CharField(help_text="SHA-256 of the certificate, hex.")
    subject = serializers.CharField()
    state = serializers.ChoiceField(choices=Certificate.State.choices)
    not_before = serializers.DateTimeField()
    not_after = serializers.DateTimeField()
    renew_at = serializers.DateTimeField(help_text="From then on the device is asked for a new one.")
    first_seen_at = serializers.DateTimeField(allow_null=True, help_text="First proof that the device uses it.")
    last_seen_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class EventsRequest(serializers.Serializer[Any]):
    """Which events."""

    kind = serializers.CharField(max_length=120, required=False)


_EVENT = {
    "id": 4711,
    "at": "2026-11-21T09:00:00Z",
    "recorded_at": "2026-11-21T09:00:00Z",
    "kind": "device.edited",
    "actor": "jo",
    "reason": "",
    "detail": {"changes": {"name": ["", "Cold room 3"]}},
}
_CERTIFICATE = {
    "serial": "5f3a9c",
    "fingerprint": "9b1c…",
    "subject": "CN=d-7f3kq2m9xw",
    "state": "active",
    "not_before": "2026-11-01T08:00:00Z",
    "not_after": "2027-11-01T08:00:00Z",
    "renew_at": "2027-09-01T08:00:00Z",
    "first_seen_at": "2026-11-01T08:00:07Z",
    "last_seen_at": "2026-11-21T06:12:44Z",
    "revoked_at": None,
}


class DeviceEventsView(View):
    """`GET /api/v1/devices/<device_id>/events`: what happened, newest first."""

    scopes = {"GET": DEVICES_READ}

    @extend_schema(
        operation_id="list_device_events",
        summary="What happened to a device",
        tags=[Tags.DEVICES],
        parameters=[EventsRequest, *PAGES],
        responses={200: answer(paged(EventDocument), {"next": None, "previous": None, "results": [_EVENT]})},
    )
    def get(self, request: Request, device_id: str) -> Response:
        """A page of them. Which of our own people did something is not told; only that they did."""
        device = visible(Device.objects.all(), request, device_id=device_id)
        asked = question(EventsRequest, request)
        rows = Event.objects.filter(device=device, **asked).select_related("user")
        found, pages = page(request, rows, "-id", self)
        inside = sees_all(request.user)
        return pages.get_paginated_response(documents(EventDocument, [_event(each, inside) for each in found]))


class DeviceCertificatesView(View):
    """`GET /api/v1/devices/<device_id>/certificates`: its own, newest first."""

    scopes = {"GET": DEVICES_READ}

    @extend_schema(
        operation_id="list_device_certificates",
        summary="Certificates of a device",
        tags=[Tags.DEVICES],
        parameters=[*PAGES],
        responses={
            200: answer(paged(CertificateDocument), {"next": None, "previous": None, "results": [_CERTIFICATE]})
        },
    )
    def get(self, request: Request, device_id: str) -> Response:
        """A page of them."""
        device = visible(Device.objects.all(), request, device_id=device_id)
        found, pages = page(request, Certificate.objects.filter(device=device), "-id", self)
        names = tuple(CertificateDocument().fields)
        rows = [{name: getattr(each, name) for name in names} for each in found]
        return pages.get_paginated_response(documents(CertificateDocument, rows))


def _event(row: Event, inside: bool) -> dict[str, Any]:
    ours = row.user is not None and row.user.is_staff
    return {
        "id": row.pk,
        "at": row.at,
        "recorded_at": row.recorded_at,
        "kind": row.kind,
        "actor": "staff" if ours and not inside else row.actor,
        "reason": row.reason,
        "detail": row.detail if inside or row.kind.startswith(_TOLD) else {},
    }
