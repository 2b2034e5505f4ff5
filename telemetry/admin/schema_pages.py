"""The page of a schema version, and the one on which the next is cut. Both are one form, with the box to try in."""

import json
import uuid
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from devices.admin.base import COUNT_LIMIT, FleetAdmin
from devices.models import DeviceType
from telemetry.admin import schema_try
from telemetry.admin.schema_form import Editor
from telemetry.models import Schema
from telemetry.packing import document, example
from telemetry.schema import changes, schemas
from telemetry.schema.changes import ChangedMeanwhile, SchemaRefused
from telemetry.schema.compatibility import MetricSpec, Vocabulary, mistakes, violations

_TEMPLATE = "admin/telemetry/schema/version.html"
_FIRST = Vocabulary((MetricSpec("", label="", required=True),))
_MEND = "Mend what is marked first."


def version_page(page: FleetAdmin, request: HttpRequest, row: Schema) -> HttpResponse:
    """A version: read and tried by everybody, changed by those who may."""
    base, used, may_change = schemas.vocabulary(row), used_by(row), page.has_change_permission(request, row)
    if request.method == "POST" and not may_change and not schema_try.wants(request):
        raise PermissionDenied
    data = request.POST if request.method == "POST" and may_change else None
    editor = Editor(base, row.revision, cutting=False, data=data)
    box = schema_try.refilled(request) if request.method == "POST" else schema_try.Box()
    if schema_try.wants(request):
        wanted = _tried(editor, row, base) if may_change else base
        if wanted is not None:
            against = f"{row}, as it is saved" if wanted == base else f"{row} with what was typed above, not saved"
            box = schema_try.box(request, row.device_type, row.version, wanted, against)
    elif data is not None and "_more" in data:
        editor = editor.with_more_rows(data)
    elif data is not None:
        answer = _save(page, request, row, editor)
        if isinstance(answer, HttpResponse):
            return answer
        editor, row = answer
    versions = Schema.objects.filter(device_type=row.device_type).order_by("version").only("version", "device_type")
    saved = schemas.vocabulary(row)
    told = {
        "title": f"{row.device_type}, version {row.version}",
        "versions": versions,
        "may_edit": may_change,
        "document": json.dumps(_document(row), indent=2, ensure_ascii=False),
        "example": json.dumps(_envelope(row.version, saved), indent=2, ensure_ascii=False),
        "type_slug": row.device_type.slug,
        "used": used,
    }
    return _rendered(page, request, editor, box, told, row)


def cut_page(page: FleetAdmin, request: HttpRequest, device_type: DeviceType, source: Schema | None) -> HttpResponse:
    """The next version of a device type, with everything that the newest or `source` says to begin with."""
    version = changes.newest(device_type) + 1
    base = schemas.vocabulary(source) if source else _FIRST
    data = request.POST if request.method == "POST" else None
    editor = Editor(base, version, cutting=True, data=data)
    box = schema_try.refilled(request) if data is not None else schema_try.Box()
    if schema_try.wants(request):
        wanted = _tried(editor, None, base)
        if wanted is not None:
            box = schema_try.box(request, device_type, version, wanted, f"version {version} as typed above, not saved")
    elif data is not None and "_more" in data:
        editor = editor.with_more_rows(data)
    elif data is not None:
        made = _cut(page, request, device_type, editor)
        if made:
            return HttpResponseRedirect(reverse("admin:telemetry_schema_change", args=[made.pk]))
    told = {
        "title": f"{device_type}: cut version {editor.revision}",
        "may_edit": True,
        "source": source,
        "device_type": device_type,
        "type_slug": device_type.slug,
        "version": editor.revision,
    }
    return _rendered(page, request, editor, box, told, None)


def _rendered(
    page: FleetAdmin, request: HttpRequest, editor: Editor, box: Any, told: dict[str, Any], row: Schema | None
) -> TemplateResponse:
    context = {**page.admin_site.each_context(request), "opts": page.opts, "original": row}
    context |= {"editor": editor, "box": box, "may_cut": page.has_add_permission(request), **told}
    return TemplateResponse(request, _TEMPLATE, context)


def _tried(editor: Editor, row: Schema | None, base: Vocabulary) -> Vocabulary | None:
    """What the form says, where it can be tried; what could not be saved is marked in either case."""
    if not editor.is_valid():
        return None
    wanted = editor.wanted()
    wrong = mistakes(wanted)
    editor.say(wrong)
    if wrong:
        return None
    if row is not None:
        editor.say(violations(base, wanted, changes.newest(row.device_type) + 1))
    return wanted


def _save(page: FleetAdmin, request: HttpRequest, row: Schema, editor: Editor) -> HttpResponse | tuple[Editor, Schema]:
    """Save and go back to the page; or the form with what is wrong, and the version as it is now."""
    if not editor.is_valid():
        messages.error(request, "Nothing was read from the form. Try again." if editor.missing else _MEND)
        return editor, row
    if editor.lacks_reason():
        messages.error(request, _MEND)
        return editor, row
    head = editor.head.cleaned_data
    try:
        told = {"revision": head["revision"], "user": request.user, "reason": head["reason"]}
        changed = changes.change(row, editor.wanted(), **told)
    except SchemaRefused as error:
        editor.say(error.violations)
        messages.error(request, f"Nothing was saved. {_MEND}")
        return editor, row
    except ChangedMeanwhile:
        row = Schema.objects.select_related("device_type").prefetch_related("metrics").get(pk=row.pk)
        who = _last_editor(row)
        messages.error(
            request,
            f"{who} changed this version meanwhile, at {row.changed_at:%Y-%m-%d %H:%M} UTC. Nothing was saved: here is"
            " what you typed, upon what the version says now. Look it over, and save again.",
        )
        return editor.upon(schemas.vocabulary(row), row.revision), row
    if changed:
        _log(page, request, row, f"Changed to revision {head['revision'] + 1}. {head['reason']}".strip())
        messages.success(request, f"{row} was changed. Every worker judges by it from its next batch on.")
    else:
        messages.info(request, "There was nothing to change.")
    return HttpResponseRedirect(reverse("admin:telemetry_schema_change", args=[row.pk]))


def _cut(page: FleetAdmin, request: HttpRequest, device_type: DeviceType, editor: Editor) -> Schema | None:
    if not editor.is_valid():
        messages.error(request, "Nothing was read from the form. Try again." if editor.missing else _MEND)
        return None
    if editor.lacks_reason():
        messages.error(request, _MEND)
        return None
    head = editor.head.cleaned_data
    try:
        told = {"version": head["revision"], "user": request.user, "reason": head["reason"]}
        made = changes.cut(device_type, editor.wanted(), **told)
    except SchemaRefused as error:
        editor.say(error.violations)
        messages.error(request, f"Nothing was saved. {_MEND}")
        return None
    except ChangedMeanwhile as error:
        editor.revision = changes.newest(device_type) + 1
        again = f"What you typed is still here; saved again, it becomes version {editor.revision}."
        messages.error(request, f"{error.detail} {again}")
        return None
    _log(page, request, made, f"Cut. {head['reason']}".strip())
    messages.success(request, f"{made} is there. Devices may name it from now on.")
    return made


def _log(page: FleetAdmin, request: HttpRequest, row: Schema, text: str) -> None:
    """Django's own history; the evidence is left by the use case."""
    ModelAdmin.log_change(page, request, row, text)


def _last_editor(row: Schema) -> str:
    kind = ContentType.objects.get_for_model(Schema)
    entries = LogEntry.objects.filter(content_type=kind, object_id=str(row.pk)).select_related("user")
    last = entries.order_by("-action_time").first()
    return str(last.user.get_short_name() or last.user) if last else "Somebody"


def used_by(row: Any) -> str:
    """Devices whose newest reading is of this version, counted to a limit."""
    return f"{row.used:,}" if row.used <= COUNT_LIMIT else f"{COUNT_LIMIT:,}+"


def _document(row: Schema) -> dict[str, Any]:
    told = document(schemas.vocabulary(row))
    return {"$schema": told.pop("$schema"), "title": f"{row}: values of a telemetry message", **told}


def schema_file(row: Schema) -> HttpResponse:
    """The JSON Schema to take away."""
    name = f"{row.device_type.slug}-v{row.version}.schema.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    text = json.dumps(_document(row), indent=2, ensure_ascii=False) + "\n"
    return HttpResponse(text, content_type="application/schema+json", headers=headers)


def _envelope(version: int, vocabulary: Vocabulary) -> dict[str, Any]:
    ts = timezone.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"msg_id": str(uuid.uuid4()), "ts": ts, "schema_version": version, "values": example(vocabulary)}
