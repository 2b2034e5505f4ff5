"""The staff admin site: Django's own, with a dashboard of tiles as its index and our sign-in."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from redis import RedisError

from devices.audited import Audited
from devices.panels import Tile, tiles
from fleetportal import runbook_pages, staff_rooms, staff_views

_TILES_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Shown:
    """A tile with its figure."""

    label: str
    url: str
    figure: int
    tone: str


class StaffSite(admin.AdminSite):
    """The staff's door."""

    site_header = "Fleetportal"
    site_title = "Fleetportal"
    index_title = "Fleet"
    site_url = None  # the head links to the customers' pages itself
    index_template = "admin/dashboard.html"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Each page, other people's too, leaves evidence of what is changed on it."""
        page = admin_class or admin.ModelAdmin
        if not issubclass(page, Audited):
            page = type(page.__name__, (Audited, page), {"__module__": page.__module__})
        super().register(model_or_iterable, page, **options)

    def get_urls(self) -> list[Any]:
        """With what hangs on every list, and the runbooks."""
        return [
            path("views/", self.admin_view(staff_views.save), name="save_view"),
            path("views/<int:pk>/remove/", self.admin_view(staff_views.remove), name="remove_view"),
            path("runbooks/<str:name>", self.admin_view(runbook_pages.show), name="runbook"),
            *super().get_urls(),
        ]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """By room."""
        found: Any = self._build_app_dict(request)
        return staff_rooms.arranged([page for app in found.values() for page in app["models"]], app_label)

    def app_index(
        self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Some rooms, under their names."""
        names = [room["name"] for room in self.get_app_list(request, app_label)]
        return super().app_index(request, app_label, {"title": ", ".join(names), **(extra_context or {})})

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The dashboard; figures are cached for a few seconds and shared by everyone."""
        try:
            shown = cache.get_or_set("admin:tiles", _figures, _TILES_SECONDS)
        except RedisError:  # staff need this page most when something is down
            shown = _figures()
        return super().index(request, {**(extra_context or {}), "tiles": shown})

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Send people to the one sign-in page; those without the right are told so, not sent in circles."""
        if request.user.is_authenticated:
            return redirect("overview")
        query = urlencode({"next": request.GET.get("next", reverse("admin:index"))})
        return redirect(f"{reverse('sign-in')}?{query}")

    def password_change(  # type: ignore[override]  # Django promises a template, and its own wrapper takes any answer
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One page changes passwords, for everybody: it ends what acts for the account, too."""
        return redirect("account_change_password")


def _figures() -> list[Shown]:
    index = reverse("admin:index")
    figures = [(tile, tile.figure()) for tile in tiles()]
    return [Shown(tile.label, index + tile.url, figure, _tone(tile, figure)) for tile, figure in figures]


def _tone(tile: Tile, figure: int) -> str:
    if not figure:
        return "neutral"
    return tile.tone if isinstance(tile.tone, str) else tile.tone()
