"""What rooms above add to pages below: tiles on the admin index, panels on a device's page.

Each room's AppConfig registers; the pages only draw. So `devices` never imports who shows something on its pages.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure on the admin index that links to the filtered list behind it."""

    label: str
    url: str
    """Path with query below the admin, e.g. `devices/device/?presence__online__exact=1`."""
    figure: Callable[[], int]
    tone: str | Callable[[], str] = "neutral"
    """Colour of a figure above zero: neutral, good, warning, bad; or what tells it then, by one query."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A tab on a device's page."""

    slug: str
    label: str
    template: str
    context: Callable[[Any], dict[str, Any]]
    """From the device to what the template shows; one bounded query or two."""
    order: int = 50
    """Tabs are shown in this order."""


_tiles: list[Tile] = []
_panels: list[Panel] = []


def add_tile(tile: Tile) -> None:
    """Register a tile; called once at start by an AppConfig."""
    _tiles.append(tile)


def add_panel(panel: Panel) -> None:
    """Register a panel; called once at start by an AppConfig."""
    _panels.append(panel)


def tiles() -> list[Tile]:
    """All tiles, in the order of the rooms."""
    return list(_tiles)


def panels() -> list[Panel]:
    """All panels, as they are shown."""
    return sorted(_panels, key=lambda panel: panel.order)
