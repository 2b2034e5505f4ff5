"""Firmware: a release is uploaded, planned, approved, rolled out; then a bad one, which is taken back by itself."""

from pathlib import Path

from playwright.sync_api import Page

from tests.fleet import eventually
from tests.screens.camera import Camera, Story

STAGES = (5, 10, 25, 50, 100)
DEVICE = 'main a[href^="/devices/d-"]'
LONG = 180_000
"""How long a whole campaign may take (ms)."""


def upload(camera: Camera, page: Page, version: str, file: str, notes: str) -> None:
    """Fill in the form of a release for all types of the demo."""
    image = Path(camera.fleet.run["firmware_files"]) / file
    for kind in ("Cold-chain logger", "Energy meter", "Pump"):
        page.click(".field-device_types .select2-search__field")
        page.keyboard.type(kind)
        page.click(f".select2-results__option:has-text('{kind}')")
    page.set_input_files("#id_file", image)
    page.set_input_files("#id_signatures", image.with_name(f"{image.name}.sig"))
    page.fill("#id_notes", notes)
    page.fill("#id_version", version)


def compose(page: Page, name: str, version: str, notes: str) -> None:
    """Fill in a plan that simulated devices carry out in a minute or two."""
    page.fill("#id_name", name)
    option = page.locator("#id_release option").filter(has_text=version).first
    page.select_option("#id_release", option.get_attribute("value"))
    page.fill("#id_notes", notes)
    page.uncheck("#id_use_windows")
    page.fill("#id_reboot_jitter", "5 s")
    page.fill("#id_verify_time", "5 s")
    percents = page.locator("[name^=stages-][name$=-percent]")
    for number, percent in enumerate(STAGES):
        percents.nth(number).fill(str(percent))
        page.locator("[name^=stages-][name$=-soak]").nth(number).fill("5 s")


def act(page: Page, name: str, reason: str) -> None:
    """Press a button of a campaign, and answer its question where there is one."""
    page.click(f"#act-{name}")
    page.wait_for_selector("#id_reason, .messagelist")
    if page.locator("#id_reason").count():
        page.fill("#id_reason", reason)
        page.click(".submit-row [type=submit]")
    page.wait_for_selector(".messagelist")


def roll_out(camera: Camera) -> None:
    """A good release on its way."""
    page = camera.open("release-upload", "author", "/admin/firmware/release/add/")
    notes = "Steadier compressor control. Tried on the bench for a week."
    upload(camera, page, "1.1.0", "good/agent-1.1.0.img", notes)
    camera.take("release-upload", page)
    page.click("[name=_save]")
    page.wait_for_url("**/change/")
    camera.facts["release"] = page.url.split("/")[-3]
    camera.go(page, "/admin/firmware/release/{release}/change/")
    camera.take("release", page)
    camera.go(page, "/admin/firmware/campaign/add/?release={release}")
    compose(page, "Compressor fix 1.1.0", "1.1.0", notes)
    camera.take("campaign-new", page)
    page.click("[name=_save]")
    page.wait_for_url("**/change/")
    camera.facts["campaign"] = page.url.split("/")[-3]
    camera.go(page, "/admin/firmware/campaign/{campaign}/change/")
    camera.take("campaign-dry-run", page)
    act(page, "submit", "")
    page.context.close()

    page = camera.open("campaign-approve", "approver", "/admin/firmware/campaign/{campaign}/change/")
    page.click("#act-approve")
    page.fill("#id_reason", "Saw it run for a week on the bench.")
    camera.take("campaign-approve", page)
    page.click(".submit-row [type=submit]")
    page.wait_for_selector(".messagelist")
    page.context.close()

    page = camera.open("campaign", "operator", "/admin/firmware/campaign/{campaign}/change/")
    act(page, "start", "The shops are closed.")
    others = [
        (name, camera.open(name, "operator", "/admin/firmware/campaign/{campaign}/change/?stage=4"))
        for name in ("campaign-dark", "campaign-phone-dark")
    ]
    page.wait_for_selector("#stage-4[aria-current=step]:has-text('Under way')", timeout=LONG)
    for name, each in [("campaign", page), *others]:
        camera.take(name, each)
    own = camera.open("device-updating", "acme-owner", "/devices/?state=updating")
    eventually(lambda: own.locator(DEVICE).count() or not own.reload(), 60, what="a device that updates")
    own.locator(DEVICE).first.click()
    own.wait_for_selector("#firmware")
    camera.take("device-updating", own)
    for each in (own, *(each for _, each in others)):
        each.context.close()
    page.wait_for_selector("#head .badge-completed", timeout=LONG)
    camera.go(page, "/admin/firmware/campaign/{campaign}/report/")
    camera.take("campaign-report", page)
    page.context.close()


def take_back(camera: Camera) -> None:
    """A release that breaks what gets it."""
    page = camera.open("campaign-stopped", "author", "/admin/firmware/release/add/")
    upload(camera, page, "1.2.0", "bad/agent-1.2.0.img", "A new scheduler.")
    page.click("[name=_save]")
    page.wait_for_url("**/change/")
    camera.go(page, "/admin/firmware/campaign/add/")
    compose(page, "Scheduler 1.2.0", "1.2.0", "A new scheduler. Not tried for long.")
    page.click("[name=_save]")
    page.wait_for_url("**/change/")
    camera.facts["bad"] = page.url.split("/")[-3]
    act(page, "submit", "")
    page.context.close()
    for who, what in (("approver", "approve"), ("operator", "start")):
        page = camera.open("campaign-stopped", who, "/admin/firmware/campaign/{bad}/change/")
        act(page, what, "Let us see.")
        if what == "start":
            page.wait_for_selector("#head .badge-rolled_back", timeout=LONG)
            camera.go(page, "/admin/firmware/campaign/{bad}/change/")
            camera.take("campaign-stopped", page)
        page.context.close()


ROLL_OUT = Story(
    "A campaign",
    {
        "release-upload": "The author uploads a release: image, signature, hardware it is for",
        "release": "A release: who signed it, what it needs, where it was rolled out",
        "campaign-new": "The plan of a campaign: what, whom, how fast, when it stops",
        "campaign-dry-run": "The dry run: how many would get it, in which stages, who is left out",
        "campaign-approve": "Somebody else approves exactly this plan and this file",
        "campaign": "The live page: stages, rates and their limits, devices one by one",
        "campaign-dark": "The live page in the dark, at the devices of a stage",
        "campaign-phone-dark": "The live page on the operator's phone",
        "device-updating": "A customer's device while the campaign is under way",
        "campaign-report": "The report of a campaign that is over",
    },
    roll_out,
)
TAKE_BACK = Story(
    "A campaign that goes wrong",
    {"campaign-stopped": "It stopped by itself, says by which numbers, and led every device back"},
    take_back,
)
