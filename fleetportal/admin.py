"""The staff admin site: Django's own, with a dashboard of tiles as its index and our sign-in."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from redis import RedisError

from devices.panels import Tile, tiles

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


def _figures() -> list[Shown]:
    index = reverse("admin:index")
    figures = [(tile, tile.figure()) for tile in tiles()]
    return [Shown(tile.label, index + tile.url, figure, _tone(tile, figure)) for tile, figure in figures]


def _tone(tile: Tile, figure: int) -> str:
    if not figure:
        return "neutral"
    return tile.tone if isinstance(tile.tone, str) else tile.tone()
