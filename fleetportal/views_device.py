"""Customers' pages of one device: how it is, what happened, and what people decide of it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from devices import editing, rotation, skew
from devices.errors import DeviceError
from devices.models import Certificate, Device, Event, Renewal, Site
from devices.people import access
from devices.people.scopes import DEVICES_WRITE
from firmware import marks
from firmware.api import words
from firmware.models import Update
from firmware.states import ACTIVE, UpdateState
from fleetportal import device_rows, happened
from telemetry.charting import charts

UPDATES = 5
EVENTS = 10
EVENTS_OF_A_PAGE = 50


@never_cache
@login_required
@require_safe
def device_page(request: HttpRequest, device_id: str) -> HttpResponse:
    """One device: live chart, latest values, connection, what happened."""
    device, now = _device(request, device_id), timezone.now()
    latest = getattr(device, "latest", None)
    events = _happened(device.events.order_by("-id")[: EVENTS + 1])
    device.silent = device_rows.is_silent(device, now)  # type: ignore[attr-defined]
    context = {
        "device": device,
        "latest": latest,
        "values": charts.shown(latest) if latest else [],
        "marks": marks.of(device),
        "clock": skew.clock(device.presence.skew_ms),
        "certificate": _certificate(device, now),
        "events": events[:EVENTS],
        "more_events": len(events) > EVENTS,
        "updates": [_told(update) for update in _reached(device)],
        "may_edit": _may_edit(request, device),
    }
    return render(request, "customers/device.html", context)


@never_cache
@login_required
@require_safe
def device_events(request: HttpRequest, device_id: str) -> HttpResponse:
    """All that happened, newest first; `?before=<number>` goes on where a page ended."""
    device, before = _device(request, device_id), request.GET.get("before", "")
    rows = device.events.order_by("-id")
    if before.isdecimal() and len(before) < 19:
        rows = rows.filter(id__lt=int(before))
    events = _happened(rows[: EVENTS_OF_A_PAGE + 1])
    shown = events[:EVENTS_OF_A_PAGE]
    older = shown[-1].pk if len(events) > EVENTS_OF_A_PAGE else None
    context = {"device": device, "events": shown, "older": older, "newest": not before}
    return render(request, "customers/device_events.html", context)


class EditForm(forms.Form):
    """Name, place, tags; and what they were when the form was filled in."""

    name = forms.CharField(max_length=200, required=False, help_text="Empty: it is called by its id.")
    site = forms.ModelChoiceField(Site.objects.none(), required=False, empty_label="No place")
    tags = forms.CharField(
        max_length=1500, required=False, help_text="Words to find devices by, such as: freezer ground-floor"
    )
    seen = forms.CharField(max_length=64, widget=forms.HiddenInput)

    def __init__(self, device: Device, data: QueryDict | None) -> None:
        told = {"name": device.name, "site": device.site, "tags": " ".join(device.tags)}
        super().__init__(data, initial=told | {"seen": editing.version(device)})
        self.fields["site"].queryset = Site.objects.filter(tenant=device.tenant_id)  # type: ignore[attr-defined]
        for name, field in self.fields.items():
            if field.help_text:
                field.widget.attrs["aria-describedby"] = f"help-{name}"


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def device_edit(request: HttpRequest, device_id: str) -> HttpResponse:
    """Rename, tag and place it."""
    device = _device(request, device_id)
    if not _may_edit(request, device):
        raise PermissionDenied
    wanted = request.method == "POST"
    form = EditForm(device, request.POST if wanted else None)
    status, theirs = 200, None
    if wanted and form.is_valid():
        told = form.cleaned_data
        tags = editing.tags_of(told["tags"])
        try:
            editing.edit(device, request.user, told["seen"], name=told["name"], site=told["site"], tags=tags)
        except DeviceError as error:
            status = error.status
            form.add_error({"tag": "tags", "name": "name"}.get(error.code), error.detail)
            if error.code == "changed_meanwhile":
                theirs = device
                form.data = {**request.POST.dict(), "seen": editing.version(device)}  # shown below, so seen
        else:
            messages.success(request, "Saved.")
            return redirect("device", device.device_id)
    elif wanted:
        status = 400
    context = {"device": device, "form": form, "theirs": theirs}
    return render(request, "customers/device_edit.html", context, status=status)


def _device(request: HttpRequest, device_id: str) -> Device:
    rows = Device.objects.visible_to(request.user)
    return get_object_or_404(
        rows.select_related("tenant", "device_type", "site", "presence", "latest"), device_id=device_id
    )


def _may_edit(request: HttpRequest, device: Device) -> bool:
    """Staff by their permission, customers by their role."""
    user: Any = request.user
    if user.is_staff:
        return bool(user.has_perm("devices.change_device"))
    return access.may(user, DEVICES_WRITE, device.tenant_id)


def _happened(rows: Iterable[Event]) -> list[Event]:
    """Events with `said`."""
    events = list(rows)
    for event in events:
        event.said = happened.said(event.kind)  # type: ignore[attr-defined]
    return events


def _certificate(device: Device, now: datetime) -> dict[str, Any] | None:
    """The newest good certificate as its owner reads it: until when, and whether the next is on its way."""
    rows = Certificate.objects.filter(device=device).trusted(now).order_by("-not_after", "-pk")
    found = rows.first()
    renewal = Renewal.objects.filter(device=device).order_by("-id").first()
    if found is None:
        return None
    open_now = renewal is not None and renewal.state in Renewal.OPEN
    failed = renewal is not None and renewal.state == Renewal.State.FAILED and renewal.certificate_id == found.pk
    if failed:
        tone, told = "warning", "Failed, tried again"
    elif rotation.is_urgent(found.renew_at, found.not_after, now):
        tone, told = "warning", "Late"
    elif open_now:
        tone, told = "info", "On its way"
    else:
        tone, told = "good", ""
    return {"row": found, "tone": tone, "words": told, "late": found.renew_at <= now}


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
