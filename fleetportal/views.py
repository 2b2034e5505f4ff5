"""Customers' pages, which join the rooms: overview, device list, device page."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import F, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from devices.models import Device, DeviceType, Tenant
from devices.querysets import DeviceQuerySet
from firmware.api import words
from firmware.models import Update
from firmware.states import ACTIVE, UpdateState
from telemetry.charting import charts
from telemetry.models import Latest, Metric

PAGE_SIZE = 25
FRESH = timedelta(minutes=2)
UPDATES = 5
STATES = [
    ("online", "Online"),
    ("offline", "Offline"),
    ("updating", "Updating"),
    *(choice for choice in Device.State.choices if choice[0] != Device.State.ACTIVE),
]


@never_cache
@login_required
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """How are my devices? Figures and the ones that need a look."""
    mine = Device.objects.visible_to(request.user).filter(state=Device.State.ACTIVE)
    offline = mine.filter(presence__online=False)
    fresh = Latest.objects.visible_to(request.user).filter(received_at__gte=timezone.now() - FRESH)
    context = {
        "tenants": Tenant.objects.visible_to(request.user)[:5],
        "devices": mine.count(),
        "online": mine.filter(presence__online=True).count(),
        "fresh": fresh.count(),
        "updating": Update.objects.visible_to(request.user).active().count(),
        "away": offline.count(),
        "offline": _rows(offline.order_by("-presence__changed_at"))[:5],
        "newest": _with_main_value(_rows(mine.order_by(F("latest__ts").desc(nulls_last=True)))[:10]),
    }
    return render(request, "customers/overview.html", context)


@never_cache
@login_required
@require_safe
def device_list(request: HttpRequest) -> HttpResponse:
    """All my devices: searched, filtered, a page at a time."""
    rows = _rows(Device.objects.visible_to(request.user).order_by("name", "device_id"))
    search, kind, state = (request.GET.get(name, "").strip() for name in ("q", "type", "state"))
    if search and "\0" not in search:
        rows = rows.filter(Q(name__icontains=search) | Q(device_id=search) | Q(hardware_id__iexact=search))
    if kind and "\0" not in kind:
        rows = rows.filter(device_type__slug=kind)
    if state in ("online", "offline"):
        rows = rows.filter(state=Device.State.ACTIVE, presence__online=state == "online")
    elif state == "updating":
        rows = rows.filter(pk__in=Update.objects.visible_to(request.user).active().values("device"))
    elif state in Device.State.values:
        rows = rows.filter(state=state)
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    page.object_list = _with_main_value(page.object_list)
    context = {
        "page": page,
        "types": DeviceType.objects.visible_to(request.user),
        "states": STATES,
        "search": search,
        "type": kind,
        "state": state,
    }
    return render(request, "customers/device_list.html", context)


@never_cache
@login_required
@require_safe
def device_page(request: HttpRequest, device_id: str) -> HttpResponse:
    """One device: live chart, latest values, connection, what happened."""
    rows = Device.objects.visible_to(request.user).select_related("tenant", "device_type", "site", "presence", "latest")
    device = get_object_or_404(rows, device_id=device_id)
    latest = getattr(device, "latest", None)
    context = {
        "device": device,
        "latest": latest,
        "values": charts.shown(latest) if latest else [],
        "events": device.events.order_by("-id")[:10],
        "updates": [_told(update) for update in _reached(device)],
    }
    return render(request, "customers/device.html", context)


def _reached(device: Device) -> Iterable[Update]:
    """The newest updates that were offered to it, or will be: what ended before is the staff's business."""
    rows = device.updates.filter(Q(offered_at__isnull=False) | Q(state__in=ACTIVE))
    return rows.select_related("campaign", "release").order_by("-id")[:UPDATES]


def _told(update: Update) -> dict[str, Any]:
    """An update as its owner reads it; one that leads back to an older version says so."""
    version = update.release.version if update.release else ""
    back = update.campaign.rollback_of_id is not None
    before = "" if back else update.from_version
    return {
        "title": (f"Back to {version}" if back else f"Update to {version}") if version else "Back to an older version",
        "words": words.of(update.state, update.waiting, update.reason_code, update.progress, before),
        "progress": update.progress if update.state == UpdateState.DOWNLOADING else None,
        "at": update.changed_at,
    }


def _rows(devices: DeviceQuerySet) -> DeviceQuerySet:
    return devices.select_related("device_type", "site", "presence", "latest")


def _with_main_value(rows: Iterable[Device]) -> list[Device]:
    """Devices with `main`: the first metric of their newest reading, or None."""
    devices = list(rows)
    schemas = {device.latest.schema_id for device in devices if hasattr(device, "latest")}
    metrics = Metric.objects.filter(schema_id__in=schemas).exclude(kind=Metric.Kind.TEXT).order_by("-position")
    first = {metric.schema_id: metric for metric in metrics}
    for device in devices:
        device.main = _main(getattr(device, "latest", None), first)  # type: ignore[attr-defined]
    return devices


def _main(latest: Latest | None, first: dict[int, Metric]) -> dict[str, Any] | None:
    metric = first.get(latest.schema_id) if latest else None
    if latest is None or metric is None:
        return None
    return {"label": metric.label, "unit": metric.unit, "kind": metric.kind, "value": next(iter(latest.metrics), None)}


@api_view(["GET"])
def api_index(request: Request) -> Response:
    """`GET /api/v1/`: what this API has, as URL templates."""
    base = request.build_absolute_uri()
    return Response(
        {
            "provision_url": f"{base}devices/provision",
            "token_url": f"{base}devices/token",
            "telemetry_url": f"{base}telemetry",
            "series_url": f"{base}devices/{{device_id}}/series{{?seconds,since,until,metric*,points,resolution}}",
            "band_url": f"{base}devices/{{device_id}}/band{{?metric,seconds,since,until,points,resolution}}",
            "comparable_url": f"{base}devices/{{device_id}}/comparable{{?metric,q}}",
            "comparison_url": f"{base}series{{?device*,metric,seconds,since,until,points,resolution}}",
            "exports_url": f"{base}exports",
            "export_url": f"{base}exports/{{id}}",
            "campaigns_url": f"{base}campaigns{{?state,release}}",
            "campaign_url": f"{base}campaigns/{{id}}",
            "ota_stop_url": f"{base}ota/stop",
            "releases_url": f"{base}releases{{?version,device_type,state}}",
            "release_url": f"{base}releases/{{id}}",
            "firmware_keys_url": f"{base}firmware/keys",
        }
    )
