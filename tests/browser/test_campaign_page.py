"""Campaigns as people see them: composed, looked at, and watched while devices report; without a reload or an error."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from devices import contract
from devices.models import Device, Group, Presence, Site, Tenant
from devices.registry import Incoming
from firmware import advancing, campaigns, planning
from firmware.models import Campaign, Hold, Report, Update, Verdict
from fleetportal.slots import CONTROL
from tests.factories import DeviceTypeFactory, StaffFactory
from tests.firmware import fleet
from tests.firmware.staff import page as url

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WIDE = """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? "" :
  [...document.querySelectorAll("body *")].filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
    .map((each) => each.tagName + "." + each.className).slice(0, 8).join(" ")"""
_LONG = pytest.mark.browser_long
LOOKS = [
    (1280, "light"),
    pytest.param(1280, "dark", marks=_LONG),
    pytest.param(390, "light", marks=_LONG),
    (390, "dark"),
]


def made():
    """A believable fleet and its release."""
    tenant = Tenant.objects.create(slug="acme-foods", name="Acme Foods")
    kind = DeviceTypeFactory(slug="cold-logger", name="Cold logger")
    release = fleet.release("1.4.2", kind, notes="Steadier compressor")
    rows = fleet.devices(120, kind, "1.4.1", tenant=tenant)
    site = Site.objects.create(tenant=tenant, name="Rotterdam, quay 12")
    Device.objects.update(site=site)
    for number, row in enumerate(rows):
        Device.objects.filter(pk=row.pk).update(name=f"Cold store {number + 1}")
    fleet.devices(9, kind, "1.4.2", tenant=tenant)
    fleet.devices(4, kind, "1.4.1", tenant=tenant, online=False)
    return release, rows


def approved(release, percents=(1, 5, 25, 100), state="running", **fields):
    """A campaign with the approval of its real plan."""
    author, boss = StaffFactory(username="mia"), StaffFactory(username="ada")
    notes = "Steadier compressor. Tried on the bench for a week."
    campaign = fleet.campaign(
        release, percents, "draft", author=author, name="Compressor fix 1.4.2", notes=notes, **fields
    )
    told = {"approved_by": boss, "approved_at": timezone.now(), "approved_digest": planning.digest(campaign)}
    told |= {"started_at": timezone.now() - timedelta(minutes=42)} if state == "running" else {}
    Campaign.objects.filter(pk=campaign.pk).update(state=state, **told)
    campaign.refresh_from_db()
    return campaign


def under_way(release, rows):
    """In its third stage, with a bit of everything."""
    campaign, now = approved(release, error_rate=2500, burn_rate=30), timezone.now()
    updates = fleet.enlist(campaign, rows, opened=3)
    ends = ["succeeded"] * 12 + ["failed", "rolled_back", "rejected"]
    active = ["downloading", "downloading", "installing", "rebooting", "verifying", "notified"]
    reasons = {"failed": "self_check", "rolled_back": "boot_failed", "rejected": "battery"}
    for number, (update, state) in enumerate(zip(updates, ends + active, strict=False)):
        Update.objects.filter(pk=update.pk).update(
            state=state, offered_at=now - timedelta(minutes=30), waiting="", from_version="1.4.1",
            ended_at=now - timedelta(minutes=number) if state in ends else None, reason_code=reasons.get(state, ""),
            progress=64 if state == "downloading" else None, needs_attention=state == "rolled_back",
            installing_boot_id="b1" if state == "rolled_back" else "", changed_at=now - timedelta(minutes=number),
        )  # fmt: skip
    Update.objects.filter(pk__in=[row.pk for row in updates[21:25]]).update(waiting="offline")
    done = [row.device_id for row in updates[:12]]
    Presence.objects.filter(device__in=done).update(firmware_version="1.4.2", boot_id="b2")
    for action, text in (("start", "Start by ada."), ("open", "Stage 3: 18 more devices, 23 together.")):
        figures = {"stage": 3, "devices": 23, "error_rate": {"numerator": 0, "denominator": 5, "threshold_bp": 2500}}
        user = "ada" if action == "start" else ""
        gate = "operator" if user else "advance"
        Verdict.objects.create(
            campaign=campaign, at=now, action=action, gate=gate, text=text, figures=figures, user=user
        )
    with ThreadPoolExecutor(1) as thread:  # the loop of the browser lives in this one
        thread.submit(_advance, campaign.pk, now).result(30)
    cache.clear()
    campaign.refresh_from_db()
    return campaign, updates


def _advance(pk, now):
    advancing.advance(pk, now)
    connection.close()


def says(update, *reports):
    """What a device sends, as it comes from the broker."""
    device = update.device
    topic = contract.Topic(device.tenant.slug, device.device_type.slug, device.device_id, "update_status")
    return [Incoming(str(topic), contract.encode(report), 1, retained=True) for report in reports]


def test_a_report_is_seen_without_a_reload(look, rooms, worker, tmp_path):
    campaign, updates = under_way(*made())
    moving = updates[15]
    page = look(url("change", campaign.pk, query="?stage=3"))
    page.wait_for_selector("[data-link-state=open]:text('Live')")
    page.evaluate("window.mark = 1")
    row = page.locator(f"#update-{moving.pk}")
    row.locator("a").focus()
    page.fill("input[name=q]", "half a wor")
    page.locator("#decisions summary").first.click()
    row.locator("a").focus()
    worker(rooms.take, CONTROL, says(moving, fleet.report(moving, "downloading", 5, progress=91)))
    row.get_by_text("91 %").wait_for()
    worker(
        rooms.take, CONTROL, says(moving, fleet.report(moving, "downloaded", 6), fleet.report(moving, "installing", 7))
    )
    row.locator(".badge-installing").wait_for()
    page.screenshot(path=tmp_path / "moved.png", full_page=True)
    focused = page.evaluate("document.activeElement.getAttribute('href')")
    assert focused == reverse("admin:firmware_update_change", args=[moving.pk])
    assert page.input_value("input[name=q]") == "half a wor"
    assert page.locator("#decisions details[open]").count() == 1
    assert page.evaluate("window.mark") == 1
    assert page.url.endswith("?stage=3")
    assert page.errors == []


def test_an_operators_act_reaches_everybody_who_looks_and_is_said_to_those_who_listen(look, staff, worker):
    campaign, _ = under_way(*made())
    page = look(url("change", campaign.pk))
    page.wait_for_selector("[data-link-state=open]")
    worker(campaigns.pause, campaign, staff, "Smoke in the cellar", timezone.now())
    page.locator("#head .badge-paused").wait_for()
    page.wait_for_selector("[data-said]:text('Paused, stage 3 of 4')", state="attached")
    assert page.locator("#act-resume").is_visible()
    assert page.locator("#act-pause").count() == 0
    assert "Smoke in the cellar" in page.locator("#head").inner_text()
    assert page.errors == []


def test_without_the_portal_the_page_says_how_old_it_is_and_comes_back(look, server, staff, worker, tmp_path):
    campaign, _ = under_way(*made())
    page = look(url("change", campaign.pk))
    page.wait_for_selector("[data-link-state=open]")
    server.stop()
    page.wait_for_selector("[data-link-state=stale]", timeout=15_000)
    assert "Stale: the portal cannot be reached" in page.locator("[data-link-state]").inner_text()
    page.screenshot(path=tmp_path / "stale.png")
    worker(campaigns.pause, campaign, staff, "Meanwhile", timezone.now())
    server.start()
    page.wait_for_selector("[data-link-state=open]", timeout=45_000)
    page.locator("#head .badge-paused").wait_for()
    assert [error for error in page.errors if "ERR_CONNECTION_REFUSED" not in error and "WebSocket" not in error] == []


def test_without_a_socket_it_asks_every_few_seconds(look, staff, worker):
    campaign, _ = under_way(*made())
    page = look("/admin/")
    page.add_init_script("window.WebSocket = class { close() {} }")
    page.goto(page.url.split("/admin/")[0] + url("change", campaign.pk))
    page.wait_for_selector("[data-link-state=polling]")
    worker(campaigns.pause, campaign, staff, "Meanwhile", timezone.now())
    page.locator("#head .badge-paused").wait_for(timeout=15_000)
    assert page.errors == []


def addresses():
    """Name → address of every page of campaigns, with a bit of everything in it."""
    release, rows = made()
    campaign, updates = under_way(release, rows[:90])
    failed = next(row for row in updates if Update.objects.get(pk=row.pk).state == "failed")
    now = timezone.now()
    common = {"update": failed, "attempt": 1, "firmware_version": "1.4.1", "boot_id": "6d1f9a2e"}
    for number, state in enumerate(fleet.STORY[:5]):
        Report.objects.create(at=now, seq=number, state=state, applied=True, **common)
    Report.objects.create(at=now, seq=6, state="notified", applied=False, count=3, **common)
    Hold.objects.create(
        device=failed.device, kind="version", version="1.4.2", update=failed, reason="Self-check failed"
    )
    draft = fleet.campaign(fleet.release("1.5.0", rows[0].device_type), (1, 5, 10, 25, 100), "draft", name="Spring")
    draft.groups.add(Group.objects.create(tenant=rows[0].tenant, name="Pilot kitchens"))
    waiting = fleet.campaign(release, (10, 100), "pending_approval", name="Second wave", notes="As the first.")
    return {
        "list": url("changelist"),
        "compose": url("add", query=f"?release={release.pk}"),
        "edit": url("edit", draft.pk),
        "draft-empty": url("change", draft.pk),
        "dry-run": url("change", waiting.pk),
        "live": url("change", campaign.pk),
        "live-failed": url("change", campaign.pk, query="?state=failures"),
        "live-nobody": url("change", campaign.pk, query="?q=nobody"),
        "update": reverse("admin:firmware_update_change", args=[failed.pk]),
        "updates": reverse("admin:firmware_update_changelist"),
        "report": url("report", campaign.pk),
    }


@pytest.mark.browser_long
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_is_whole_and_quiet(look, tmp_path, width, scheme):
    found = addresses()
    page = look("/admin/", width, scheme)
    origin, wrong = page.url.split("/admin/")[0], {}
    for name, address in found.items():
        page.goto(origin + address)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
        wide = page.evaluate(WIDE)
        if page.errors or wide:
            wrong[name] = (wide, list(page.errors))
        page.errors.clear()
    assert wrong == {}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_campaign_is_composed_and_paused_by_keyboard(look, tmp_path, width, scheme):
    release, rows = made()
    page = look(url("add", query=f"?release={release.pk}"), width, scheme)
    page.fill("#id_name", "Night shift")
    page.fill("#id_error_rate", "101")
    page.press("#id_error_rate", "Enter")
    page.wait_for_selector(".errornote")
    page.screenshot(path=tmp_path / f"errors-{width}-{scheme}.png", full_page=True)
    assert "less than or equal to 100" in page.locator(".field-error_rate").inner_text()
    page.fill("#id_error_rate", "0.5")
    page.press("#id_error_rate", "Enter")
    page.wait_for_url("**/change/")
    assert "120" in page.locator(".figures").inner_text()
    page.focus("#act-submit")
    page.keyboard.press("Enter")
    page.wait_for_selector(".messagelist:has-text('Submitted')")
    assert page.locator("#act-approve").count() == 0
    campaign, _ = under_way(release, rows)
    page.goto(page.url.split("/admin/")[0] + url("change", campaign.pk))
    page.focus("#act-roll_back")
    page.keyboard.press("Enter")
    page.wait_for_selector("#id_reason")
    page.screenshot(path=tmp_path / f"question-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.activeElement.name") == "reason"
    assert page.evaluate(WIDE) == ""
    page.click("text=Cancel")
    page.focus("#act-pause")
    page.keyboard.press("Enter")
    page.wait_for_selector("#id_reason")
    page.keyboard.type("Bench test first")
    page.keyboard.press("Enter")
    page.wait_for_selector("#head .badge-paused")
    assert "Paused." in page.locator(".messagelist").inner_text()
    assert page.errors == []


def test_nothing_moves_for_those_who_do_not_want_it(look):
    campaign, _ = under_way(*made())
    moving = "getComputedStyle(document.querySelector('#parts .bar rect')).transitionDuration"
    assert look(url("change", campaign.pk), motion="reduce").evaluate(moving) == "0s"
    assert look(url("change", campaign.pk)).evaluate(moving) != "0s"
