"""The page on which a table of devices is taken in: upload, look at what it would come to, say why, confirm."""

from typing import Any

import tablib
from django import forms
from django.contrib import messages
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from devices import importing
from devices.admin.base import FleetAdmin
from devices.importing import TableRefused

SHOWN = 50
"""Rows, and mistakes, that the page shows; its counts are of all."""
_SALT = "devices.import"
_SECONDS = 3600
_REASON = 200


class FileForm(forms.Form):
    """The file."""

    file = forms.FileField(
        label="CSV file",
        help_text=f"UTF-8; commas, semicolons or tabs. At most {importing.MAX_ROWS:,} rows.",
        widget=forms.FileInput(attrs={"accept": ".csv,text/csv"}),
    )


def import_page(page: FleetAdmin, request: HttpRequest) -> HttpResponse:
    """One address for all three steps; nothing is stored between them: the page itself carries the table, signed."""
    if request.method == "POST" and "table" in request.POST:
        return _confirmed(page, request)
    form = FileForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        try:
            table = importing.read(form.cleaned_data["file"].read(importing.MAX_BYTES + 1))
        except TableRefused as error:
            form.add_error("file", error.detail)
        else:
            return _preview(page, request, table, importing.judge(table, request.user))
    return _page(page, request, {"form": form, "columns": importing.COLUMNS, "needed": importing.NEEDED})


def _confirmed(page: FleetAdmin, request: HttpRequest) -> HttpResponse:
    try:
        carried = signing.loads(request.POST["table"], salt=f"{_SALT}.{request.user.pk}", max_age=_SECONDS)
    except signing.BadSignature:
        messages.error(request, "This preview is too old, or not yours. Choose the file again.")
        return HttpResponseRedirect(request.path)
    table = tablib.Dataset(*carried["rows"], headers=carried["head"])
    reason = request.POST.get("reason", "").strip()[:_REASON]
    if not reason:
        return _preview(page, request, table, importing.judge(table, request.user), missing=True)
    judged = importing.carry_out(table, request.user, reason)
    if judged.mistakes:
        messages.error(request, "Nothing was written: something has changed since the preview.")
        return _preview(page, request, table, judged, typed=reason)
    messages.success(
        request, f"Registered: {len(judged.rows):,}. Each joins when it enrols with a claim of its tenant."
    )
    return HttpResponseRedirect(reverse("admin:devices_device_changelist") + "?state__exact=registered&o=-8")


def _preview(
    page: FleetAdmin,
    request: HttpRequest,
    table: tablib.Dataset,
    judged: importing.Judged,
    *,
    missing: bool = False,
    typed: str = "",
) -> HttpResponse:
    carried = {"head": table.headers, "rows": [list(row) for row in table]}
    told = {
        "total": len(table),
        "rows": judged.rows[:SHOWN],
        "more": max(len(table) - SHOWN, 0),
        "mistakes": judged.mistakes[:SHOWN],
        "more_mistakes": max(len(judged.mistakes) - SHOWN, 0),
        "wrong": len({each.row for each in judged.mistakes}),
        "missing": missing,
        "typed": typed,
    }
    if not judged.mistakes:
        told["table"] = signing.dumps(carried, salt=f"{_SALT}.{request.user.pk}", compress=True)
        told["tenants"] = sorted({str(row.tenant) for row in judged.rows})
    return _page(page, request, told)


def _page(page: FleetAdmin, request: HttpRequest, told: dict[str, Any]) -> HttpResponse:
    context = {**page.admin_site.each_context(request), "title": "Import devices", "opts": page.opts, **told}
    return TemplateResponse(request, "admin/devices/device/import.html", context)
