"""The staff's pages: devices and what is done to many, identity, telemetry, people, evidence."""

from tests.screens.camera import Camera, Shot, Story, pages

ONE = "#result_list tbody th a"
TABLE = """tenant;device_type;hardware_id;name;site;tags;groups
acme-foods;cold-logger;CL-2026-0201;Freezer 11;Hamburg cold store;haccp,frozen;Pilot
acme-foods;cold-logger;CL-2026-0202;Freezer 12;Lyon depot;haccp;
acme-foods;pump;PM-2026-0044;Glycol pump 9;Lyon depot;monthly-check;Pilot
nordwatt;energy-meter;EM-2026-0310;Meter, hall 4;Bergen works;billing;
nordwatt;energy-meter;EM-2026-0311;;Aarhus pumping station;;
"""
WRONG = """tenant;device_type;hardware_id;site
acme-foods;cold-logger;CL-2026-0201;Hamburg cold store
acme-foods;freezer;CL-2026-0202;Lyon depot
nordwatt;pump;PM 44;Lyon depot
"""

DEVICES = pages(
    "Staff: the fleet",
    Shot("admin", "The staff's first page: figures that lead to what they count", "/admin/", "admin"),
    Shot("admin-dark", "The first page in the dark", "/admin/", "admin"),
    Shot("admin-phone-dark", "The first page on a phone", "/admin/", "operator"),
    Shot("admin-devices", "All devices: search, filters, states at a glance", "/admin/devices/device/", "operator"),
    Shot("admin-devices-dark", "All devices in the dark", "/admin/devices/device/", "operator"),
    Shot("admin-devices-phone-dark", "All devices on a phone", "/admin/devices/device/", "operator"),
    Shot("admin-device", "A device's cockpit", "/admin/devices/device/{freezer_pk}/change/", "operator"),
    Shot("admin-device-dark", "The cockpit's live chart",
         "/admin/devices/device/{freezer_pk}/change/#live", "operator"),
    Shot("admin-device-phone-dark", "The cockpit on a phone", "/admin/devices/device/{freezer_pk}/change/", "operator"),
    Shot("admin-device-certificates", "The cockpit: certificates and their succession",
         "/admin/devices/device/{freezer_pk}/change/#certificates", "security"),
    Shot("admin-device-firmware", "The cockpit: updates and holds",
         "/admin/devices/device/{freezer_pk}/change/#firmware", "operator"),
    Shot("admin-device-timeline", "The cockpit: what happened",
         "/admin/devices/device/{freezer_pk}/change/#timeline", "support"),
)  # fmt: skip


def take_in(camera: Camera) -> None:
    """A table of devices."""
    page = camera.open("admin-import", "operator", "/admin/devices/device/import/")
    camera.take("admin-import", page)
    for name, text in (("admin-import-mistakes", WRONG), ("admin-import-preview", TABLE)):
        camera.go(page, "/admin/devices/device/import/")
        page.set_input_files("[name=file]", {"name": "autumn.csv", "mimeType": "text/csv", "buffer": text.encode()})
        page.click(".submit-row [type=submit]")
        page.wait_for_selector(".verdict")
        if name == "admin-import-preview":
            page.fill("#reason", "Autumn order, arrives on Monday")
        camera.take(name, page)
    page.click(".submit-row [type=submit]")
    page.wait_for_selector(".messagelist")
    camera.take("admin-imported", page)
    page.context.close()


def many(camera: Camera) -> None:
    """Many devices at once."""
    page = camera.open("admin-bulk", "operator", "/admin/devices/device/?q=Freezer")
    page.check("#action-toggle")
    page.select_option("[name=action]", "add_tag")
    camera.take("admin-bulk-chosen", page)
    page.click("[name=index]")
    page.fill("[name=chosen]", "winter-check")
    page.fill("#reason", "Service round in December")
    camera.take("admin-bulk", page)
    page.click(".submit-row [type=submit]")
    page.wait_for_selector(".messagelist")
    page.context.close()
    page = camera.open("admin-rotate", "security", "/admin/devices/device/?q=Freezer")
    for box in page.locator("tr:has(.badge-online) .action-select").all():
        box.check()
    page.select_option("[name=action]", "rotate")
    page.click("[name=index]")
    page.fill("#reason", "The service laptop was lost")
    camera.take("admin-rotate", page)
    page.click(".submit-row [type=submit]")
    page.wait_for_selector(".messagelist")
    page.context.close()
    page = camera.open("admin-quarantine", "security", "/admin/devices/device/{away_pk}/change/")
    page.click("button[value=quarantine]")
    page.fill("#reason", "Its seal is broken")
    camera.take("admin-quarantine", page)
    page.click(".submit-row [type=submit]")
    page.wait_for_selector(".messagelist")
    camera.take("admin-quarantined", page)
    page.context.close()


def view(camera: Camera) -> None:
    """A search of the admin is kept."""
    page = camera.open("admin-views", "operator", "/admin/devices/device/?tag=haccp&presence__online__exact=1")
    page.click(".save-view summary")
    page.fill("#view-name", "Online, HACCP")
    page.click(".save-view [type=submit]")
    page.wait_for_selector(".pills .chosen")
    camera.go(page, "/admin/devices/device/?tag=haccp&presence__online__exact=1")
    camera.take("admin-views", page)
    page.context.close()


def stop(camera: Camera) -> None:
    """All firmware is stopped, and goes on."""
    page = camera.open("admin-stop", "operator", "/admin/firmware/stop/stop-all/")
    page.fill("#reason", "Devices lose their network after 1.2.0")
    camera.take("admin-stop", page)
    page.click(".submit-row [type=submit]")
    page.wait_for_selector(".messagelist")
    camera.go(page, "/admin/")
    camera.take("admin-stopped", page)
    camera.go(page, "/admin/firmware/stop/lift/")
    page.fill("#reason", "It was the provider")
    page.click(".submit-row [type=submit]")
    page.wait_for_selector(".messagelist")
    page.context.close()


IMPORT = Story(
    "Staff: devices from a table",
    {
        "admin-import": "Which columns a table has",
        "admin-import-mistakes": "Every mistake by row and column; nothing was written",
        "admin-import-preview": "What it would come to, before it is confirmed with a reason",
        "admin-imported": "The devices are registered",
    },
    take_in,
)
BULK = Story(
    "Staff: acts with a reason",
    {
        "admin-bulk-chosen": "Devices are chosen, and an action",
        "admin-bulk": "How many it is about, and why",
        "admin-rotate": "Certificates are renewed early: for which devices, and why",
        "admin-quarantine": "A device is put in quarantine: the question",
        "admin-quarantined": "In quarantine, with what may be done now",
    },
    many,
)
VIEWS = Story("Staff: saved views", {"admin-views": "A search that was saved stands above its list"}, view)
STOPPED = Story(
    "Staff: everything stops",
    {"admin-stop": "Stop all firmware: the question", "admin-stopped": "Every page says that all firmware is stopped"},
    stop,
)
PAGES = pages(
    "Staff: room by room",
    Shot("admin-certificates", "Certificates", "/admin/devices/certificate/", "security"),
    Shot("admin-certificate-dark", "A certificate and its place in the succession",
         "/admin/devices/certificate/{certificate}/change/", "security"),
    Shot("admin-renewals", "Renewals: figures, and who is behind", "/admin/devices/renewal/", "security"),
    Shot("admin-renewals-dry-run", "Renewals: whose certificate would be renewed",
         "/admin/devices/renewal/dry-run/", "security"),
    Shot("admin-approvals", "Devices that wait for a person", "/admin/devices/approval/", "security"),
    Shot("admin-approval", "One that waits, and what is known of it",
         "/admin/devices/approval/{approval}/change/", "security"),
    Shot("admin-approve", "Let it in: the question", "/admin/devices/approval/{approval}/change/", "security",
         clicks=("button[value=approve]",), ready="#reason"),
    Shot("admin-claims", "Claims: by what devices join", "/admin/devices/claim/", "operator"),
    Shot("admin-claim-codes-list", "Claim codes, and who used them", "/admin/devices/claimcode/", "admin"),
    Shot("admin-authorities", "Certificate authorities", "/admin/devices/authority/", "security"),
    Shot("admin-findings", "Findings: what somebody should look at", "/admin/devices/finding/", "operator"),
    Shot("admin-runbook", "A runbook, where a finding leads to", "/admin/runbooks/bad-release.md", "operator"),
    Shot("admin-runbooks-dark", "The runbooks in the dark", "/admin/runbooks/README.md", "operator"),
    Shot("admin-events", "What was done: by whom, to whom, why", "/admin/devices/event/", "support"),
    Shot("admin-event", "One act, before and after", "/admin/devices/event/?what=device.tagged", "support",
         clicks=(ONE,)),
    Shot("campaigns", "All campaigns", "/admin/firmware/campaign/", "operator"),
    Shot("campaigns-phone-dark", "All campaigns on a phone", "/admin/firmware/campaign/", "operator"),
    Shot("releases", "All releases", "/admin/firmware/release/", "author"),
    Shot("updates", "Updates of single devices", "/admin/firmware/update/", "operator"),
    Shot("update-failed", "An update that failed: why, and every word the device said",
         "/admin/firmware/update/?state__exact=rolled_back", "support", clicks=(ONE,)),
    Shot("firmware-keys", "Whose signatures count", "/admin/firmware/trustedkey/", "security"),
    Shot("admin-dead-letters", "Dead letters: what was refused, by its mistake",
         "/admin/telemetry/deadletter/", "operator"),
    Shot("admin-dead-letter-list", "Dead letters of one mistake", "/admin/telemetry/deadletter/letters/?reason=schema",
         "operator"),
    Shot("admin-replay", "Replay: the question", "/admin/telemetry/deadletter/replay/?reason=schema", "admin"),
    Shot("admin-schemas", "What each type of device measures", "/admin/telemetry/schema/", "admin"),
    Shot("admin-schema", "A schema in use, and its editor", "/admin/telemetry/schema/{schema}/change/", "admin"),
    Shot("admin-schema-new", "The next version is cut from it",
         "/admin/telemetry/schema/add/?device_type=cold-logger&from=1", "admin"),
    Shot("admin-schema-phone-dark", "The schema editor on a phone",
         "/admin/telemetry/schema/{schema}/change/", "admin"),
    Shot("admin-exports", "Exports of everybody", "/admin/telemetry/export/", "support"),
    Shot("admin-export", "An export and its progress", "/admin/telemetry/export/", "support", clicks=(ONE,)),
    Shot("admin-retention", "How long readings are kept", "/admin/telemetry/retention/", "admin"),
    Shot("admin-tenants", "Companies", "/admin/devices/tenant/", "admin"),
    Shot("admin-tenant", "A company", "/admin/devices/tenant/{tenant_pk}/change/", "admin"),
    Shot("admin-group", "A group and its maintenance windows", "/admin/devices/group/{group}/change/", "operator"),
    Shot("admin-users", "People", "/admin/auth/user/", "admin"),
    Shot("admin-user", "One of them: roles, and what may be changed", "/admin/auth/user/?q=acme-operator", "admin",
         clicks=(ONE,)),
    Shot("admin-roles", "The staff's roles", "/admin/auth/group/", "admin"),
    Shot("admin-invitations", "Invitations", "/admin/devices/invitation/", "admin"),
    Shot("admin-tokens", "API tokens of everybody", "/admin/devices/apitoken/", "security"),
    Shot("admin-schedule", "What the portal does by itself", "/admin/django_celery_beat/periodictask/", "admin"),
)  # fmt: skip
