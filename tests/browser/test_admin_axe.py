"""axe-core over every page of the admin, wide and light, narrow and dark: nothing serious, and a quiet console.

And no list is wider than its page at a desk: what hangs out of it is not seen.
"""

import json
from pathlib import Path

import axe_playwright_python
import pytest

from devices.tenancy import ROOMS
from tests.factories import TenantFactory
from tests.fleetportal import admin_pages, world

pytestmark = [pytest.mark.browser, pytest.mark.browser_long, pytest.mark.django_db(transaction=True)]
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
FRAGMENTS = {"firmware_campaign_live"}
"""What a page puts into itself: no page."""
WIDE = """() => [...document.querySelectorAll("html, #changelist .results")]
  .filter((each) => each.scrollWidth > each.clientWidth)
  .map((each) => `${each.className || each.tagName}: ${each.scrollWidth} > ${each.clientWidth}`)"""
"""What is cut off: the page, or a list that would have to be pushed aside."""
DESK = 1280
ASK = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"], preload: false});
  return found.violations.filter((each) => ["serious", "critical"].includes(each.impact))
    .map((each) => [each.id, each.nodes.slice(0, 3).map((node) => node.html.slice(0, 200) + node.failureSummary)]);
}"""


@pytest.fixture
def staff(transactional_db, ca):
    return admin_pages.root()


def parts(found):
    """The pages by room; one history of rows stands for all, as they differ in words only."""
    rooms = {}
    for name, address in found.items():
        room = address.split("/")[2] or "site"
        if not name.endswith("_history") or name == "devices_device_history":
            rooms.setdefault(room if room in ROOMS else "site", {})[name] = address
    return rooms


@pytest.mark.parametrize("room", [*ROOMS, "site"])
@pytest.mark.parametrize(("width", "scheme"), [(DESK, "light"), (390, "dark")])
@pytest.mark.timeout(600)
def test_axe_finds_nothing_serious_on_any_page(visit, staff, room, width, scheme):
    device = world.add(TenantFactory(name="Acme"))
    found = parts(admin_pages.addresses() | admin_pages.extra(device))[room]
    page = visit("/admin/", width, scheme)
    origin = page.url.split("/admin/")[0]
    errors, wrong, seen = page.errors, {}, 0
    for name, address in found.items():
        if name in FRAGMENTS:
            continue
        answer = page.goto(origin + address)
        if answer.status == 403:  # pages that add what nobody adds by hand
            errors.clear()
            continue
        seen += 1
        page.evaluate(AXE)  # by the debugger, which no policy holds back; a script element would be refused
        violations = page.evaluate(ASK)
        told = [text for text in errors if "/ws/" not in text]  # this server speaks no WebSockets
        wide = page.evaluate(WIDE) if width == DESK else []
        if violations or told or wide or answer.status != 200:
            wrong[name] = (answer.status, violations, told, wide)
        errors.clear()
    assert wrong == {}, json.dumps(wrong, indent=1)
    assert seen >= 4
