"""Customers' overview."""

from datetime import timedelta

from django.contrib.auth.decorators import login_required
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from devices.models import Device, Tenant
from devices.people import access
from devices.people.scopes import DEVICES_WRITE
from firmware.models import Update
from fleetportal import device_rows
from telemetry.models import Latest

FRESH = timedelta(minutes=2)
LISTED = 5
"""Devices that need a look, of each kind."""


@never_cache
@login_required
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """How are my devices? Figures and the ones that need a look."""
    user, now = request.user, timezone.now()
    all_mine = Device.objects.visible_to(user)
    mine = all_mine.filter(state=Device.State.ACTIVE)
    offline = mine.filter(presence__online=False)
    quarantined = all_mine.filter(state=Device.State.QUARANTINED)
    fresh = Latest.objects.visible_to(user).filter(received_at__gte=now - FRESH)
    looks = [
        *device_rows.with_state(quarantined.order_by("name", "device_id"))[:LISTED],
        *device_rows.with_state(offline.order_by("-presence__changed_at"))[:LISTED],
        *device_rows.silent(device_rows.with_state(mine), now).order_by("presence__last_seen_at")[:LISTED],
    ]
    newest = device_rows.with_state(mine.order_by(F("latest__ts").desc(nulls_last=True)))[:10]
    context = {
        "tenants": Tenant.objects.visible_to(user)[:5],
        "devices": mine.count(),
        "online": mine.filter(presence__online=True).count(),
        "fresh": fresh.count(),
        "updating": Update.objects.visible_to(user).active().count(),
        "away": offline.count(),
        "looks": device_rows.judged(looks, now),
        "newest": device_rows.shown(newest),
        "may_add": access.tenants(user, DEVICES_WRITE).exists(),
    }
    return render(request, "customers/overview.html", context)
