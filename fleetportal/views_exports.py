"""Customers' page of exports: what was asked for, how far it is, and the form that asks."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from devices.models import Device
from telemetry import api_exports
from telemetry.exporting import exports
from telemetry.models import Export

SHOWN = 30
"""Exports on the page, the newest."""
OFFERED = 50
"""Devices that can be ticked without a search."""
_WEEK = timedelta(days=6)
_NEAR = [MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2099, 12, 31))]
_FIELDS = {"$.devices": "devices", "$.since": "first", "$.until": "last"}


class ExportForm(forms.Form):
    """Devices, days (UTC), format, resolution."""

    first = forms.DateField(label="From", validators=_NEAR, widget=forms.DateInput(attrs={"type": "date"}))
    last = forms.DateField(label="Up to and with", validators=_NEAR, widget=forms.DateInput(attrs={"type": "date"}))
    resolution = forms.ChoiceField(choices=Export.Resolution.choices)
    format = forms.ChoiceField(choices=Export.Format.choices)

    def range(self) -> tuple[datetime, datetime]:
        """The whole days, as moments."""
        first, last = (
            datetime.combine(self.cleaned_data[name], datetime.min.time(), UTC) for name in ("first", "last")
        )
        return first, last + timedelta(days=1)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def export_page(request: HttpRequest) -> HttpResponse:
    """The list and the form; `?device=<id>` (once for each) ticks devices, `?first=` and `?last=` are its days."""
    asked = request.POST if request.method == "POST" else request.GET
    ticked = [each for each in dict.fromkeys(asked.getlist("device")) if "\0" not in each][: exports.MAX_DEVICES + 1]
    word = asked.get("q", "").strip().replace("\0", "")[:100]
    wanted = request.method == "POST" and "find" not in request.POST
    form = ExportForm(request.POST) if request.method == "POST" else ExportForm(initial=_initial(request.GET))
    mistake = ""
    if wanted and form.is_valid():
        first, last = form.range()
        told = form.cleaned_data
        try:
            exports.request(request.user, ticked, first, last, told["format"], told["resolution"], timezone.now())
        except exports.ExportError as error:
            field = _FIELDS.get(error.path.split("[")[0], "")
            mistake = "" if field in form.fields else error.detail
            if not mistake:
                form.add_error(field, error.detail)
        else:
            messages.success(request, "It is being made. You can leave this page: the file will be here.")
            return redirect("exports")
    if not wanted:
        form.errors.clear()  # a search is no answer yet
    devices, more = _offered(request.user, ticked, word)
    context = {
        "exports": [_told(each, request) for each in api_exports.rows(request.user)[:SHOWN]],
        "form": form,
        "devices": devices,
        "more": more,
        "ticked": set(ticked),
        "word": word,
        "mistake": mistake,
        "most": exports.MAX_DEVICES,
        "offered": OFFERED,
    }
    return render(request, "customers/exports.html", context, status=400 if wanted else 200)


@never_cache
@login_required
@require_POST
def export_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """End it, or delete its file."""
    export = get_object_or_404(api_exports.rows(request.user), pk=pk)
    if not exports.may_remove(export, request.user):
        raise PermissionDenied
    exports.remove(export, request.user, timezone.now())
    return redirect("exports")


def _initial(asked: QueryDict) -> dict[str, Any]:
    """The last week, or the days in the address."""
    today = timezone.now().date()
    return {"first": _day(asked, "first") or today - _WEEK, "last": _day(asked, "last") or today}


def _day(asked: QueryDict, name: str) -> date | None:
    try:
        return parse_date(asked.get(name, ""))
    except ValueError:
        return None  # a day that no month has


def _told(export: Export, request: HttpRequest) -> dict[str, Any]:
    devices = sorted(str(each) for each in export.devices.all())
    first, last = f"{export.since:%Y-%m-%d}", f"{export.until - timedelta(seconds=1):%Y-%m-%d}"
    return {
        "row": export,
        "title": ", ".join(devices[:2]) + (f" and {len(devices) - 2} more" if len(devices) > 2 else ""),
        "days": first if first == last else f"{first} to {last}",
        "may_remove": (export.is_open or export.is_there) and exports.may_remove(export, request.user),
    }


def _offered(user: Any, ticked: Iterable[str], word: str) -> tuple[list[Device], bool]:
    """Those that are ticked, then those that match the search, by name; and whether more match."""
    rows = Device.objects.visible_to(user).select_related("device_type").order_by("name", "device_id")
    chosen = list(rows.filter(device_id__in=ticked))
    others = rows.exclude(device_id__in=ticked)
    if word:
        others = others.filter(Q(name__icontains=word) | Q(device_id=word) | Q(hardware_id__iexact=word))
    found = list(others[: OFFERED + 1])
    return [*chosen, *found[:OFFERED]], len(found) > OFFERED
