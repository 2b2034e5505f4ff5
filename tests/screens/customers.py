"""What customers see: overview, devices, exports, adding a device they bought."""

from tests.screens.camera import Camera, Shot, Story, pages

COMPARED = (
    "[data-seconds='86400']", "[data-do=compare]",
    ".compare-found button:has-text('Freezer 2')", ".compare-found button:has-text('Freezer 3')",
)  # fmt: skip
DAY = ("[data-seconds='86400']",)

PAGES = pages(
    "Customers",
    Shot("overview", "The overview: what needs a look, what is fresh, what happened", "/"),
    Shot("overview-dark", "The overview in the dark", "/"),
    Shot("overview-phone-dark", "The overview on a phone", "/"),
    Shot("devices", "The devices, their newest values moving", "/devices/"),
    Shot("devices-found", "Searched and filtered, before it is saved as a view", "/devices/?state=online&tag=haccp"),
    Shot("devices-none", "A search that finds nothing says what to do", "/devices/?q=greenhouse"),
    Shot("devices-phone", "The devices on a phone", "/devices/"),
    Shot("devices-phone-dark", "The devices on a phone, in the dark", "/devices/"),
    Shot("device", "A device: its values as it speaks, the last day, certificate, firmware, events",
         "/devices/{freezer}/", clicks=DAY),
    Shot("device-dark", "A device with what was usual at this time of day", "/devices/{meter}/",
         clicks=(*DAY, "[data-do=usual]"), ready=".legend .swatch"),
    Shot("device-phone", "A device on a phone", "/devices/{freezer}/", clicks=DAY),
    Shot("device-phone-dark", "A device on a phone, in the dark", "/devices/{meter}/", clicks=DAY),
    Shot("device-compared-dark", "Devices beside each other", "/devices/{freezer}/", clicks=COMPARED,
         ready=".compare-chosen:has-text('Freezer 3')"),
    Shot("device-offline-phone-dark", "A device that is away says since when", "/devices/{away}/", clicks=DAY),
    Shot("device-edit", "Its name, place and tags", "/devices/{freezer}/edit/"),
    Shot("device-events", "What happened to a device", "/devices/{freezer}/events/"),
    Shot("device-events-phone-dark", "What happened to a device, on a phone", "/devices/{freezer}/events/"),
    Shot("preferences", "Time zone and theme", "/preferences/"),
    Shot("preferences-phone-dark", "Time zone and theme on a phone", "/preferences/"),
    Shot("api-docs", "The reference of the REST API", "/api/docs/"),
    Shot("api-docs-dark", "The reference in the dark", "/api/docs/"),
    Shot("api-docs-phone-dark", "The reference on a phone", "/api/docs/"),
)  # fmt: skip


def save(camera: Camera) -> None:
    """A search is kept as a view."""
    page = camera.open("devices-saved", "acme-operator", "/devices/?state=online&tag=haccp")
    page.fill("#view-name", "Online, HACCP")
    page.click("text=Save view")
    page.wait_for_selector(".pill.own")
    camera.take("devices-saved", page)
    page.context.close()


def export(camera: Camera) -> None:
    """A file is asked for, and there."""
    page = camera.open("exports", "acme-owner", "/exports/?device={freezer}")
    page.click("button:has-text('Make the file')")
    page.wait_for_selector("#exports:not(:has([data-moves])) a:has-text('Download')", timeout=60_000)
    camera.go(page, "/exports/?device={freezer}")
    camera.take("exports", page)
    page.context.close()
    page = camera.open("exports-phone-dark", "acme-owner", "/exports/")
    camera.take("exports-phone-dark", page)
    page.context.close()


def sell(camera: Camera) -> None:
    """Claim codes are made by staff, and one of them comes with who bought the device."""
    page = camera.open("admin-claim-codes", "admin", "/admin/devices/claimcode/add/")
    page.click(".select2-selection")
    page.locator(".select2-results__option:not(.loading-results)").filter(has_text="cold").first.click()
    page.fill("[name=hardware_ids]", "\n".join(f"CL2-2026-0041{number}" for number in range(4, 8)))
    page.click("[name=_save]")
    page.wait_for_selector(".labels")
    camera.take("admin-claim-codes", page)
    code = page.locator(".label code").first.inner_text()
    page.context.close()
    page = camera.open("device-add-phone", "acme-owner", "/devices/add/")
    camera.take("device-add-phone", page)
    page.context.close()
    for name in ("device-add-found", "device-add-found-phone-dark"):
        page = camera.open(name, "acme-owner", f"/devices/add/?code={code}")
        page.fill("[name=name]", "Freezer in the shop")
        camera.take(name, page)
        page.context.close()
    page = camera.open("device-added-phone-dark", "acme-owner", f"/devices/add/?code={code}")
    page.fill("[name=name]", "Freezer in the shop")
    page.click("text=Add this device")
    page.wait_for_selector("h1:has-text('Freezer in the shop')")
    camera.take("device-added-phone-dark", page)
    page.context.close()
    page = camera.open("device-add-wrong-phone-dark", "acme-owner", f"/devices/add/?code={code}")
    page.wait_for_selector("[role=alert]")
    camera.take("device-add-wrong-phone-dark", page)
    page.context.close()


def err(camera: Camera) -> None:
    """What is not there, or not for them."""
    for name in ("error-404", "error-404-phone-dark"):
        page = camera.open(name, "acme-owner", "/devices/d-somebodys/")
        page.errors.clear()  # the browser notes the 404 itself
        camera.take(name, page)
        page.context.close()
    page = camera.open("error-403", "support", "/admin/firmware/release/add/")
    page.errors.clear()
    camera.take("error-403", page)
    page.context.close()


SAVED = Story("A saved view", {"devices-saved": "A search that was saved stands above the list"}, save)
EXPORTS = Story(
    "Exports",
    {
        "exports": "Readings as files: one that is ready, and the form of the next",
        "exports-phone-dark": "Exports on a phone",
    },
    export,
)
SOLD = Story(
    "A device is sold and added",
    {
        "admin-claim-codes": "Labels of claim codes with QR, shown once, to print",
        "device-add-phone": "Add a device by its claim code",
        "device-add-found": "The code is good: which device it is for",
        "device-add-found-phone-dark": "The code is good, on a phone",
        "device-added-phone-dark": "It is there, and waits to be switched on",
        "device-add-wrong-phone-dark": "A code that was used already",
    },
    sell,
)
ERRORS = Story(
    "What is not there",
    {
        "error-404": "A page that is not there, or another company's",
        "error-404-phone-dark": "A page that is not there, on a phone",
        "error-403": "A page that needs a right, and which",
    },
    err,
)
