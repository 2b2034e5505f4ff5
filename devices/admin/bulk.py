"""What is done to many devices at once to put them in order: a tag, a group, a place; with its numbers and a reason."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from devices import arranging
from devices.admin.base import FleetAdmin, ask_reason, where_from
from devices.admin.rotation import describe
from devices.models import Device, Group, Site, Tenant
from devices.models.fields import validate_part

MOST = 5_000
"""Devices changed at once: each is locked, changed and told by itself, while somebody waits for the page."""


class TagForm(forms.Form):
    """Which tag."""

    chosen = forms.CharField(
        label="Tag", max_length=63, help_text="One word: lower-case letters, digits, - and _.",
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip

    def clean_chosen(self) -> str:
        """As the form of a device judges it."""
        tag: str = self.cleaned_data["chosen"].strip()
        validate_part(tag)
        return tag


class NameForm(forms.Form):
    """Which group or site of the one tenant whose devices were chosen: typed, and proposed where there are few."""

    chosen: Any = forms.ModelChoiceField(queryset=None, empty_label="Choose…")

    def __init__(self, data: Any, rows: QuerySet[Any], label: str) -> None:
        super().__init__(data)
        field: Any = self.fields["chosen"]
        field.queryset, field.label = rows, label
        field.help_text = "Of the tenant whose devices these are."


Make = Callable[[Any, QuerySet[Tenant]], forms.Form]


def _tag(data: Any, _tenants: QuerySet[Tenant]) -> forms.Form:
    return TagForm(data)


def _group(data: Any, tenants: QuerySet[Tenant]) -> forms.Form:
    return NameForm(data, Group.objects.filter(tenant__in=tenants), "Group")


def _site(data: Any, tenants: QuerySet[Tenant]) -> forms.Form:
    return NameForm(data, Site.objects.filter(tenant__in=tenants), "Site")


ACTS: dict[str, tuple[str, Make, Callable[[Device, Any, str, Any], bool]]] = {
    "add_tag": ("Add a tag", _tag, arranging.add_tag),
    "remove_tag": ("Remove a tag", _tag, arranging.remove_tag),
    "put_in": ("Put in a group", _group, arranging.put_in),
    "take_out": ("Take out of a group", _group, arranging.take_out),
    "move": ("Move to a site", _site, arranging.move),
}
"""Name of the action → what it is called, what it asks, what it does."""


def arrange(page: FleetAdmin, request: HttpRequest, rows: QuerySet[Device], act: str) -> HttpResponse | None:
    """Ask what and why, say for how many, and do it device by device."""
    verb, make, carry_out = ACTS[act]
    total = rows.count()
    if total > MOST:
        messages.error(request, f"At most {MOST:,} devices at once; {total:,} were chosen. Filter the list first.")
        return where_from(page, request)
    # One tenant at a time: groups and sites are a tenant's own, and a name alone would say nothing.
    tenants = Tenant.objects.filter(pk__in=rows.order_by().values_list("tenant", flat=True).distinct()[:2])
    if make is not _tag and len(tenants) > 1:
        messages.error(request, "These devices are of several tenants. Filter by one: groups and sites are a tenant's.")
        return where_from(page, request)
    form = make(request.POST if "confirmed" in request.POST else None, tenants)
    rows = rows.select_related("tenant")
    answer = ask_reason(page, request, rows, verb, about=describe, ready=form.is_valid())
    if isinstance(answer, str):
        what = form.cleaned_data["chosen"]
        return _done(page, request, rows, verb, lambda row: carry_out(row, what, answer, request.user))
    answer.template_name = "admin/devices/device/arrange.html"
    answer.context_data = {**(answer.context_data or {}), "form": form}
    return answer


def _done(
    page: FleetAdmin, request: HttpRequest, rows: QuerySet[Device], verb: str, carry_out: Callable[[Device], bool]
) -> HttpResponse | None:
    chosen = list(rows.order_by("pk"))  # now: what is done may take devices out of what the list filters by
    done = sum(carry_out(row) for row in chosen)
    left = len(chosen) - done
    text = f"{verb}: {done} done" + (f", {left} were so already or cannot be." if left else ".")
    messages.add_message(request, messages.SUCCESS if done else messages.WARNING, text)
    return where_from(page, request)
