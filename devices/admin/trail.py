"""What was done: the audit trail, by person and by device, with what changed from what to what, and why."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from devices.admin.base import ReadOnlyAdmin
from devices.admin.typed_filters import TypedFilter, related
from devices.badges import below, when
from devices.models import Device, Event, Tenant
from devices.templatetags.fleet import pretty, words

_FOUND = 100
"""Devices, and people, whose events one search looks for."""
_SHOWN = 3
_LONG = 60


class DoneBy(admin.SimpleListFilter):
    """What people did, or all that was told. An address that asks for nothing is about people."""

    title = "who"
    parameter_name = "by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All of it is a choice of its own."""
        self._first = "all" if set(request.GET) - {PAGE_VAR} else "people"
        return [("people", "People"), ("others", "Devices and the portal"), ("all", "All")]

    def value(self) -> str:
        """What is asked for, or stands for nothing."""
        return super().value() or self._first

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Without Django's own *All*, which would ask for nothing."""
        for value, label in self.lookup_choices:
            address = changelist.get_query_string({self.parameter_name: value}, [PAGE_VAR])
            yield {"selected": self.value() == value, "query_string": address, "display": label}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """By whether a person is named."""
        if self.value() not in {"people", "others"}:
            return queryset
        return queryset.filter(user__isnull=self.value() == "others")


class KindFilter(TypedFilter):
    """The beginning of a kind: `device`, `campaign.`, `retention.applied`."""

    title = "what"
    parameter_name = "what"
    hint = "device.quarantined"

    def found(self, rows: QuerySet[Any], word: str) -> QuerySet[Any]:
        """As it is written in the list, or in the code."""
        return rows.filter(kind__istartswith=word.lower().replace(" ", ".", 1).replace(" ", "_"))


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The audit trail."""

    change_form_template = "admin/devices/event/change_form.html"
    list_display = ["moment", "what", "who", "whom", "change", "why"]
    list_display_links = ["what"]
    list_filter = [DoneBy, KindFilter, related("tenant", "tenant", Tenant, ("name", "slug"))]
    list_select_related = ["device", "tenant", "user"]
    csv_columns = ["at", "kind", "actor", "device", "tenant", "change", "reason", "correlation_id"]
    search_fields = ["pk"]  # says that there is a search; `get_search_results` does it
    search_help_text = "A person's name or address, a device's name, or the whole device id"
    readonly_fields = ["what"]
    fields = ["at", "recorded_at", "what", "actor", "tenant", "device", "reason", "correlation_id"]

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        """People and devices first, then their events by index: the trail itself is too long to be read through."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        people = get_user_model().objects.filter(
            Q(username__icontains=term) | Q(email__icontains=term) | Q(first_name__icontains=term)
            | Q(last_name__icontains=term)
        )  # fmt: skip
        devices = Device.objects.visible_to(request.user).filter(
            Q(device_id=term.lower()) | Q(name__istartswith=term) | Q(hardware_id=term)
        )
        whose = Q(user__in=list(people.values_list("pk", flat=True)[:_FOUND]))
        whose |= Q(device__in=list(devices.order_by().values_list("pk", flat=True)[:_FOUND]))
        return queryset.filter(whose), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the name of its question."""
        return super().changelist_view(request, {"title": "What was done", **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With what changed as a table."""
        event = self.get_object(request, object_id)
        told: dict[str, Any] = {}
        if event:
            told = {"changes": _in_full(event), "rest": rest(event), "subtitle": words(event.kind)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})

    @admin.display(description="When", ordering="pk")
    def moment(self, event: Event) -> Any:
        """By the clock of whoever says so."""
        return when(event.at)

    @admin.display(description="What")
    def what(self, event: Event) -> str:
        """In words."""
        return words(event.kind)

    @admin.display(description="Who")
    def who(self, event: Event) -> str:
        """A person, a device, or a part of the portal."""
        return event.actor

    @admin.display(description="Whom")
    def whom(self, event: Event) -> SafeString | str:
        """The device, or what else it is about."""
        tenant = event.tenant or ""
        if event.device is None:
            named = event.detail.get("name") if isinstance(event.detail, dict) else None
            return below(str(named)[:_LONG], tenant) if named and tenant else str(named or tenant or "—")[:_LONG]
        address = reverse("admin:devices_device_change", args=[event.device.pk])
        return below(format_html('<a href="{}">{}</a>', address, event.device), tenant)

    @admin.display(description="From → to")
    def change(self, event: Event) -> SafeString | str:
        """The first few of its changes."""
        found = changes(event)
        lines = [(name, _short(before), _short(after)) for name, before, after in found[:_SHOWN]]
        shown = format_html_join("", "<span class='change'><b>{}</b> {} → {}</span>", lines)
        return format_html("{}{}", shown, f" +{len(found) - _SHOWN}" if len(found) > _SHOWN else "") if found else "—"

    @admin.display(description="Why")
    def why(self, event: Event) -> str:
        """The reason that was given."""
        return event.reason or "—"


def changes(event: Event) -> list[tuple[str, Any, Any]]:
    """(field, before, after) of each change that an event tells of, whoever wrote it."""
    detail = event.detail if isinstance(event.detail, dict) else {}
    found = []
    told_of: Any = detail.get("changes")
    for name, told in (told_of if isinstance(told_of, dict) else detail).items():
        label = str(name).replace("_", " ")
        if isinstance(told, dict) and set(told) == {"before", "after"}:
            found.append((label, told["before"], told["after"]))
        elif isinstance(told, list) and len(told) == 2 and "changes" in detail:
            found.append((label, told[0], told[1]))
    return found


def rest(event: Event) -> list[tuple[str, str]]:
    """(name, value) of what an event tells besides its changes."""
    if not isinstance(event.detail, dict):
        return [("detail", _text(event.detail))] if event.detail else []
    changed = {name for name, *_ in changes(event)}
    told = [(str(name).replace("_", " "), value) for name, value in event.detail.items()]
    kept = [(name, value) for name, value in told if name not in changed]
    if isinstance(event.detail.get("changes"), dict) and changed:
        kept = [(name, value) for name, value in kept if name != "changes"]
    return [(name, _text(value)) for name, value in kept]


def _in_full(event: Event) -> list[tuple[str, str, str]]:
    return [(name, _text(before), _text(after)) for name, before, after in changes(event)]


def _text(value: Any) -> str:
    if isinstance(value, list) and not any(isinstance(each, list | dict) for each in value):
        value = ", ".join(str(each) for each in value)
    if value is None or value in ("", {}):
        return "—"
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return pretty(value)


def _short(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
