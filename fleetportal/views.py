"""Customers' overview."""

import hashlib
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis import RedisError

from devices.models import Device, Tenant
from devices.people import access
from devices.people.scopes import DEVICES_WRITE
from devices.tenancy import sees_all
from firmware.models import Update
from fleetportal import device_rows
from telemetry.models import Latest

FRESH = timedelta(minutes=2)
MANY, KEPT_SECONDS = 5_000, 10
LISTED = 5
"""Devices that need a look, of each kind."""


@never_cache
@login_required
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """How are my devices? Figures and the ones that need a look."""
    user, now = request.user, timezone.now()
    tenants = list(Tenant.objects.visible_to(user))
    told = figures(user, None if sees_all(user) else [tenant.pk for tenant in tenants], now)
    shown = device_rows.with_state(Device.objects.visible_to(user).filter(pk__in=[*told["looks"], *told["newest"]]))
    rows = {row.pk: row for row in shown}
    looks, newest = ([rows[pk] for pk in told[name] if pk in rows] for name in ("looks", "newest"))
    context = {
        **told,
        "tenants": tenants[:5],
        "looks": device_rows.judged(looks, now),
        "newest": device_rows.shown(newest),
        "may_add": access.tenants(user, DEVICES_WRITE).exists(),
    }
    return render(request, "customers/overview.html", context)


def figures(user: Any, tenants: list[int] | None, now: datetime) -> dict[str, Any]:
    """Counts, and the keys of the devices to show, for somebody who sees these tenants (None: all).

    With 100,000 devices they take a third of a second, and everybody of a company asks for the same: those of `MANY`
    and more are kept for `KEPT_SECONDS`. In a small fleet people look for the one device they have just added.
    """
    whose = "all" if tenants is None else ",".join(map(str, sorted(tenants)))
    key = f"overview:{hashlib.sha256(whose.encode()).hexdigest()}"
    try:
        kept: dict[str, Any] | None = cache.get(key)
    except RedisError:
        kept = None
    if kept is not None:
        return kept
    made = _figures(user, now)
    if made["devices"] >= MANY:
        with suppress(RedisError):
            cache.set(key, made, KEPT_SECONDS)
    return made


def _figures(user: Any, now: datetime) -> dict[str, Any]:
    everything = Device.objects.visible_to(user)
    mine = everything.filter(state=Device.State.ACTIVE)
    offline = mine.filter(presence__online=False)
    quarantined = everything.filter(state=Device.State.QUARANTINED)
    silent = device_rows.silent(device_rows.with_state(mine), now)
    looks = [
        *quarantined.order_by("name", "device_id").values_list("pk", flat=True)[:LISTED],
        *offline.order_by("-presence__changed_at").values_list("pk", flat=True)[:LISTED],
        *silent.order_by("presence__last_seen_at").values_list("pk", flat=True)[:LISTED],
    ]
    newest = mine.order_by(F("latest__ts").desc(nulls_last=True)).values_list("pk", flat=True)[:10]
    return {
        "devices": mine.count(),
        "online": mine.filter(presence__online=True).count(),
        "fresh": Latest.objects.visible_to(user).filter(received_at__gte=now - FRESH).count(),
        "updating": Update.objects.visible_to(user).active().count(),
        "away": offline.count(),
        "looks": looks,
        "newest": list(newest),
    }
