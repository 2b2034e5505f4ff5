"""Customers' overview."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from devices.models import Device, Tenant
from devices.people import access
from devices.people.scopes import DEVICES_WRITE
from fleetportal import device_rows
from fleetportal.overview import figures, looked_at, places


@never_cache
@login_required
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """How are my devices? Figures and the ones that need a look."""
    user, now = request.user, timezone.now()
    told = figures(user, now)
    wanted = [*(look[0] for look in told["looks"]), *told["newest"]]
    mine = Device.objects.visible_to(user).filter(pk__in=wanted).order_by("name", "device_id")
    rows = {row.pk: row for row in device_rows.with_state(mine)}
    context = {
        **told,
        "tenants": Tenant.objects.visible_to(user)[:5],
        "looks": looked_at(told["looks"], rows, now),
        "newest": device_rows.shown(row for pk, row in rows.items() if pk in told["newest"]),
        "sites": places(told["sites"], user),
        "may_add": access.tenants(user, DEVICES_WRITE).exists(),
    }
    return render(request, "customers/overview.html", context)
