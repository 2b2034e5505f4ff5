"""Dead letters: what was refused and why, in groups, one by one, and what can be done about them."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from devices.admin.base import CappedPaginator, ReadOnlyAdmin
from devices.admin.chain import viewed
from telemetry.admin.deadletter_acts import PURGE, REPLAY, purge_page, replay_page
from telemetry.admin.deadletter_form import LetterFilter
from telemetry.models import DeadLetter
from telemetry.refused import groups, previews, replays
from telemetry.refused.selections import unfit
from telemetry.schema import trying

PER_PAGE = 50
_PAGES = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """A group with where it leads."""

    group: groups.Group
    query: str


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Groups first; a group's letters; one letter with its payload."""

    def get_urls(self) -> list[URLPattern]:
        """What hangs on the list."""
        view, name = self.admin_site.admin_view, "telemetry_deadletter"
        return [
            path("letters/", view(self.letters), name=f"{name}_letters"),
            path("replay/", view(self.replay), name=f"{name}_replay"),
            path("purge/", view(self.purge), name=f"{name}_purge"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The groups of what the filter finds."""
        form = self._filter(request)
        by = request.GET.get("by", "") if request.GET.get("by", "") in groups.BY else "device"
        number = _number(request.GET.get("p", ""))
        page = groups.page(form.selection(), by, number) if form.is_valid() else groups.Page([], more=False)
        rows = [Row(group, _leading(form, group, by)) for group in page.groups]
        told = {"rows": rows, "ways": groups.BY, "by": by, "number": number, "more": page.more}
        return self._page(request, "groups", form, "Dead letters", told)

    def letters(self, request: HttpRequest) -> HttpResponse:
        """The letters themselves, the newest first."""
        form = self._filter(request)
        page: Page[DeadLetter] | None = None
        if form.is_valid():
            rows = form.selection().rows().select_related("device").defer("payload").order_by("-received_at", "-pk")
            page = CappedPaginator(rows, PER_PAGE).get_page(request.GET.get("p"))
        return self._page(request, "letters", form, "Dead letters, one by one", {"page": page})

    def replay(self, request: HttpRequest) -> HttpResponse:
        """Take them in again."""
        return replay_page(self, request)

    def purge(self, request: HttpRequest) -> HttpResponse:
        """Delete them."""
        return purge_page(self, request)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One letter: what it says, where the mistake is, and on demand what would be said of it now."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET"])
        letter: DeadLetter = viewed(self, request, object_id)
        cannot = unfit(letter)
        told = {
            **self.admin_site.each_context(request),
            "title": f"Dead letter {letter.pk}",
            "opts": self.opts,
            "letter": letter,
            "preview": previews.preview(bytes(letter.payload), letter.path),
            "kept": len(letter.payload),
            "plain": trying.is_plain_text(bytes(letter.payload)) and trying.TEXT_ONLY,
            "unfit": cannot,
            "tried": _tried(letter) if "try" in request.GET and not cannot else None,
            **_rights(request),
        }
        return TemplateResponse(request, "admin/telemetry/deadletter/letter.html", told)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """With what its page shows."""
        found = super().get_object(request, object_id, from_field)
        return found and DeadLetter.objects.select_related("device__tenant", "device__device_type").get(pk=found.pk)

    def _filter(self, request: HttpRequest) -> LetterFilter:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return LetterFilter(request.GET, request.user)

    def _page(
        self, request: HttpRequest, name: str, form: LetterFilter, title: str, told: dict[str, Any]
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "form": form,
            "query": form.query() if form.is_valid() else "",
            **_rights(request),
            **told,
        }
        return TemplateResponse(request, f"admin/telemetry/deadletter/{name}.html", context)


def _rights(request: HttpRequest) -> dict[str, bool]:
    return {"may_replay": request.user.has_perm(REPLAY), "may_purge": request.user.has_perm(PURGE)}


def _number(text: str) -> int:
    return min(max(int(text), 1), _PAGES) if text.isdecimal() and len(text) < 9 else 1


def _leading(form: LetterFilter, group: groups.Group, by: str) -> str:
    """The filter that finds exactly a group's letters."""
    told: dict[str, str] = {"reason": group.reason}
    device = group.sample.device
    if device is None:
        told |= {"device": "", "nobodys": "on"}
    elif by == "device":
        told["device"] = device.device_id
    else:
        told["type"] = device.device_type.slug
    return form.query(**told)


def _tried(letter: DeadLetter) -> dict[str, Any]:
    """What would be said now, and by when."""
    taken = replays.try_again(letter)
    return {"taken": taken, "refused": taken.refused.get(letter.pk, []), "at": timezone.now()}
