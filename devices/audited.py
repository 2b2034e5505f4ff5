"""Every page of the admin leaves evidence: who changed what, from what to what, and why.

The site mixes this into each page that is registered, those of other people's apps, too (fleetportal/admin.py).
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.files import File
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property
from django.utils.text import capfirst

from devices import evidence
from devices.models import Device, Tenant

WHY = "why"
"""Name of the field in which a form asks for the reason."""
MISSING = "Say why: it becomes evidence."
_REASON_LENGTH = 200
_LONGEST = 500
_MOST = 50
_SECRETS = ("password", "secret", "token", "pem", "private", "hash", "session_key")
_HIDDEN = "(not shown)"


class WhyMixin:
    """A form that asks why. The reason is no change by itself."""

    @cached_property
    def changed_data(self) -> list[str]:
        """What was changed of the row."""
        return [name for name in super().changed_data if name != WHY]  # type: ignore[misc]


def why_field() -> forms.CharField:
    """The question itself."""
    return forms.CharField(
        label="Reason for the change",
        max_length=_REASON_LENGTH,
        help_text="Kept as evidence with your name.",
        error_messages={"required": MISSING},
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )


class Audited(admin.ModelAdmin):  # type: ignore[type-arg]  # it takes no parameters at run time
    """A page whose changes, additions and removals are events, with the reason that its form asked for."""

    asks_why: ClassVar[bool] = True
    """False where the form has a field of its own for it, or the page is no plain form."""
    tells_acts: ClassVar[bool] = True
    """False where actions ask why and leave evidence by themselves."""

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """With the question why, where a row is changed."""
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        asks = change and self.asks_why and kwargs.get("fields") and self.has_change_permission(request, obj)
        if asks:
            form = type(form.__name__, (WhyMixin, form), {WHY: why_field()})
        _name_halves(form.base_fields)
        _help(form.base_fields, self)
        return form

    def get_formsets_with_inlines(self, request: HttpRequest, obj: Any = None) -> Any:
        """Fields in lines of a table have names, too: their labels are the table's heads."""
        for formset, inline in super().get_formsets_with_inlines(request, obj):
            for name, field in formset.form.base_fields.items():
                field.widget.attrs.setdefault("aria-label", _label(name, field))
            _name_halves(formset.form.base_fields)
            _help(formset.form.base_fields, inline)
            formset.get_deletion_widget = staticmethod(lambda: forms.CheckboxInput(attrs={"aria-label": "Remove"}))
            yield formset, inline

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Django's words; what was changed is kept for the evidence."""
        request.told = _told(form, formsets, add=add)  # type: ignore[attr-defined]
        request.why = (getattr(form, "cleaned_data", None) or {}).get(WHY, "")  # type: ignore[attr-defined]
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Django's log, and ours."""
        self._record("added", request, obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Django's log, and ours."""
        self._record("changed", request, obj, message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Django's log, and ours: called before they go."""
        request.told = {}  # type: ignore[attr-defined]
        request.why = _reason(request)  # type: ignore[attr-defined]
        for row in queryset:
            self._record("removed", request, row, [])
        return super().log_deletions(request, queryset)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Nothing goes without a reason."""
        if request.method == "POST" and not _reason(request) and self.has_delete_permission(request):
            messages.error(request, MISSING)
            return HttpResponseRedirect(request.get_full_path())
        return super().delete_view(request, object_id, extra_context)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the name of what is listed; and nothing goes without a reason, however many are chosen."""
        going = request.POST.get("action") == "delete_selected" and "post" in request.POST
        if going and not _reason(request):
            messages.error(request, MISSING)
            return HttpResponseRedirect(request.get_full_path())
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def response_action(self, request: HttpRequest, queryset: Any, *where: Any) -> HttpResponse | None:
        """An action of other people's pages is evidence, too."""
        answer = super().response_action(request, queryset, *where)
        name = request.POST.get("action", "")
        carried_out = isinstance(answer, HttpResponseRedirect) and name in self.get_actions(request)
        if self.tells_acts and carried_out and name != "delete_selected":
            chosen = request.POST.getlist("_selected_action")
            evidence.record(
                f"{self.opts.model_name}.{name}"[:120],
                user=request.user,
                detail={"chosen": chosen[:_MOST], "all": request.POST.get("select_across") == "1"},
            )
        return answer

    def _record(self, verb: str, request: HttpRequest, obj: Any, message: Any) -> None:
        device = obj if isinstance(obj, Device) else getattr(obj, "device", None)
        tenant = obj if isinstance(obj, Tenant) else getattr(obj, "tenant", None)
        evidence.record(
            f"{obj._meta.model_name}.{verb}",
            device=device if isinstance(device, Device) else None,
            tenant=tenant if isinstance(tenant, Tenant) else None,
            user=request.user,
            reason=getattr(request, "why", ""),
            detail={"id": str(obj.pk), "name": str(obj)[:200], **told(request)},
        )


def _label(name: str, field: Any) -> str:
    return str(field.label or name.replace("_", " ").capitalize())


def _name_halves(fields: dict[str, Any]) -> None:
    """Both halves of a moment have a name, for those who do not see where they stand."""
    for name, field in fields.items():
        if isinstance(field.widget, forms.SplitDateTimeWidget):
            for half, word in zip(field.widget.widgets, ("date", "time"), strict=True):
                half.attrs["aria-label"] = f"{_label(name, field)}: {word}"


def _help(fields: dict[str, Any], page: Any) -> None:
    """What a page says of its fields, where nobody else does."""
    for name, text in getattr(page, "help_texts", {}).items():
        if name in fields and not fields[name].help_text:
            fields[name].help_text = text


def told(request: HttpRequest) -> dict[str, Any]:
    """What the form of this request changed: by field, before and after; and the lines it added, changed, removed."""
    found: dict[str, Any] = getattr(request, "told", {})
    return found


def _reason(request: HttpRequest) -> str:
    return request.POST.get(WHY, "").strip()[:_REASON_LENGTH]


def _told(form: Any, formsets: Any, *, add: bool) -> dict[str, Any]:
    lines: list[dict[str, Any]] = []
    for formset in formsets or ():
        by_row = {id(each.instance): each for each in formset.forms if hasattr(each, "instance")}
        lines += [{"added": str(row)[: _MOST * 4]} for row in getattr(formset, "new_objects", ())]
        for row, _names in getattr(formset, "changed_objects", ()):
            line = by_row.get(id(row))
            lines.append({"changed": str(row)[: _MOST * 4], "fields": _changes(line, add=False) if line else {}})
        lines += [{"removed": str(row)[: _MOST * 4]} for row in getattr(formset, "deleted_objects", ())]
    return {"changes": _changes(form, add=add)} | ({"lines": lines[:_MOST]} if lines else {})


def _changes(form: Any, *, add: bool) -> dict[str, Any]:
    """Field → before and after; of a new row only what it is."""
    found: dict[str, Any] = {}
    for name in form.changed_data:
        field = form.fields.get(name)
        if any(word in name for word in _SECRETS) or isinstance(field and field.widget, forms.PasswordInput):
            found[name] = _HIDDEN
            continue
        if field is None or name == WHY:
            continue
        after = _plain(form.cleaned_data.get(name))
        found[name] = after if add else {"before": _plain(_before(form, field, name)), "after": after}
    return found


def _before(form: Any, field: forms.Field, name: str) -> Any:
    """What stood there; a row where the form knows only its key."""
    value = form.get_initial_for_field(field, name)
    if isinstance(field, forms.ModelMultipleChoiceField) or not isinstance(field, forms.ModelChoiceField):
        return value
    return None if value in {None, ""} else _row(field, value)


def _row(field: "forms.ModelChoiceField[Any]", value: Any) -> Any:
    if isinstance(value, models.Model):
        return value
    return field.queryset.model._base_manager.filter(pk=value).first() if field.queryset is not None else value


def _plain(value: Any) -> Any:
    """As JSON; rows by their names."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, File):
        return f"{value.name} ({value.size} bytes)"[:_LONGEST]  # to go through a file is to read all of it
    if isinstance(value, list | tuple) and any(isinstance(each, File) for each in value):
        return [_plain(each) for each in value][:_MOST]
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict):
        return sorted(str(each)[:_LONGEST] for each in value)[:_MOST]
    return str(value)[:_LONGEST]
