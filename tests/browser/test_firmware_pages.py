"""The staff's pages of releases, keys, tokens, holds and the stop as people see them."""

import hashlib

import pytest
from django.urls import reverse
from django.utils import timezone

from devices.models import Group, MaintenanceWindow
from firmware.models import Campaign, Hold, Release, Ring, Stop, UploadToken, Verified
from tests.browser.test_identity_pages import LOOKS, WIDE
from tests.factories import DeviceTypeFactory, TenantFactory, UserFactory
from tests.firmware import fleet

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
NOTES = "Compressor restarts after a brown-out.\n\nThe door sensor is debounced for 200 ms."


@pytest.fixture
def company(staff):
    """Two releases, a campaign that ended badly for one device, keys in every state, a ring, tokens."""
    logger, meter = DeviceTypeFactory(name="Cold logger CL-2"), DeviceTypeFactory(name="Pump meter PM-1")
    tenant = TenantFactory(name="Acme Foods")
    fleet.trusted_key("Build server Hamburg", created_by=staff)
    soon = fleet.trusted_key("Build server Bremen", not_after=timezone.now() + 9 * fleet.DAY)
    soon.device_types.add(meter)
    gone = {"revoked_at": timezone.now(), "reason": "The laptop was stolen", "revoked_by": staff}
    fleet.trusted_key("Old laptop", **gone)
    old = fleet.release("1.9.3", logger, key="Old laptop", created_by=staff)
    release = fleet.release(
        "2.0.0", logger, key="Build server Hamburg", data=b"firmware" * 300_000, file_name="cold-logger-2.0.0.bin",
        created_by=staff, notes=NOTES, min_version="1.4.0", min_battery_percent=40, needs_mains=True,
    )  # fmt: skip
    fleet.release("0.9.0", meter, key="Build server Bremen", uploaded_by="gitlab", state="archived")
    device, *others = fleet.devices(4, release, "1.9.3", tenant=tenant)
    pilot = Group.objects.create(tenant=tenant, name="Pilot hall")
    pilot.devices.add(*others)
    MaintenanceWindow.objects.create(group=pilot, weekdays="12345", starts="06:00", minutes=600)
    MaintenanceWindow.objects.create(group=pilot, kind="slot", weekdays="67", starts="02:00", minutes=180)
    ring = Ring.objects.create(name="Own freezers", order=1)
    ring.groups.add(pilot)
    campaign = fleet.campaign(release, name="Brown-out fix, week 47", ring=ring)
    updates = fleet.offered(campaign, [device, *others], "installing")
    failed = next(each for each in updates if each.device_id == device.pk)
    ended = {"state": "failed", "reason_code": "self_check", "detail": "the watchdog bit twice", "ended_at": fleet.NOW}
    type(failed).objects.filter(pk=failed.pk).update(**ended)
    past = fleet.campaign(old, name="Winter settings", state="completed")
    fleet.offered(past, [device], "succeeded", ended_at=fleet.NOW)
    Verified.objects.create(device=device, version="1.9.3", release=old, verified_at=fleet.NOW)
    hold = Hold.objects.create(
        device=device, kind="version", version="2.0.0", update=failed, reason="It failed its self-check"
    )
    Hold.objects.create(device=others[0], kind="penalty", reason="3 failed updates within 30 days")
    token = UploadToken.objects.create(
        name="GitLab, project cold-logger", prefix="fpu_a1b2c3d4", token_hash="h", created_by=staff,
        expires_at=timezone.now() + 80 * fleet.DAY,
    )  # fmt: skip
    token.device_types.add(logger)
    return {"release": release, "old": old, "device": device, "hold": hold, "token": token, "group": pilot, "key": soon}


def stop():
    Stop.objects.create(started_by=UserFactory(username="robin"), reason="Boot loops reported from Bremen")


def page_of(model, row):
    app = "devices" if model in ("device", "group") else "firmware"
    return reverse(f"admin:{app}_{model}_change", args=[row.pk])


def addresses(company):
    found = {
        f"{model}-list": reverse(f"admin:firmware_{model}_changelist")
        for model in ("release", "trustedkey", "uploadtoken", "ring", "hold", "stop")
    }
    found |= {
        f"{model}-add": reverse(f"admin:firmware_{model}_add")
        for model in ("release", "trustedkey", "uploadtoken", "ring")
    }
    old_key = company["old"].artifact.signatures.get().key
    return found | {
        "dashboard": reverse("admin:index"),
        "release": page_of("release", company["release"]),
        "release-revoked": page_of("release", company["old"]),
        "key": page_of("trustedkey", company["key"]),
        "key-revoked": page_of("trustedkey", old_key),
        "token": page_of("uploadtoken", company["token"]),
        "hold": page_of("hold", company["hold"]),
        "device-firmware": page_of("device", company["device"]) + "#firmware",
        "device-list": reverse("admin:devices_device_changelist"),
        "device-add": reverse("admin:devices_device_add"),
        "group": page_of("group", company["group"]),
        "stop-all": reverse("admin:firmware_stop_all"),
    }


@pytest.mark.browser_long
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_is_whole_and_quiet(visit, company, tmp_path, width, scheme):
    page = visit("/admin/", width, scheme)
    origin = page.url.split("/admin/")[0]
    wrong = {}

    def look(name, address):
        page.goto(origin + address)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
        wide = page.evaluate(WIDE)
        if page.errors or wide:
            wrong[name] = (wide, list(page.errors))
        page.errors.clear()

    for name, address in addresses(company).items():
        look(name, address)
    stop()
    page.wait_for_timeout(3100)  # the banner's memory
    look("dashboard-stopped", reverse("admin:index"))
    look("lift", reverse("admin:firmware_stop_lift"))
    assert wrong == {}


def fill(page, tmp_path, version):
    """The upload form, as somebody fills it in; the version stands there last."""
    data = b"new image\n" * 400_000
    image, signature = tmp_path / "meter-3.0.0.bin", tmp_path / "meter.sig"
    image.write_bytes(data)
    signature.write_bytes(fleet.sign(hashlib.sha256(data).hexdigest(), image.name, "Build server Bremen"))
    page.click(".field-device_types .select2-selection")
    page.keyboard.type("Pump")
    page.click(".select2-results__option:has-text('Pump meter PM-1')")
    page.set_input_files("#id_file", image)
    page.set_input_files("#id_signatures", signature)
    page.fill("#id_notes", "Kept")
    page.fill("#id_version", version)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_an_upload_that_is_refused_loses_nothing_and_then_goes_through(visit, company, tmp_path, width, scheme):
    page = visit(reverse("admin:firmware_release_add"), width, scheme)
    fill(page, tmp_path, "0.9.0")
    page.click("input[name=_save]")
    page.wait_for_selector(".field-version .errorlist")
    page.screenshot(path=tmp_path / f"refused-{width}-{scheme}.png", full_page=True)
    assert "exists already for Pump meter PM-1" in page.locator(".field-version .errorlist").inner_text()
    assert page.evaluate("document.activeElement.id") == "id_version"
    assert page.evaluate("['id_file', 'id_signatures'].map((id) => document.getElementById(id).files.length)") == [1, 1]
    assert page.input_value("#id_notes") == "Kept"
    assert page.evaluate(WIDE) == ""
    page.fill("#id_version", "3.0.0")
    page.click("input[name=_save]")
    row = page.wait_for_url("**/change/") or Release.objects.get(version="3.0.0")
    page.screenshot(path=tmp_path / f"uploaded-{width}-{scheme}.png", full_page=True)
    assert page.url.endswith(page_of("release", row))
    assert "Verified just now" in page.locator("#content").inner_text()
    page.click("text=Check it by hand")
    page.screenshot(path=tmp_path / f"by-hand-{width}-{scheme}.png", full_page=True)
    assert page.evaluate(WIDE) == ""
    with page.expect_download() as download:
        page.click("text=Download image")
    assert download.value.suggested_filename == "meter-3.0.0.bin"
    assert download.value.path().read_bytes() == (tmp_path / "meter-3.0.0.bin").read_bytes()
    assert page.errors == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_everything_is_stopped_from_the_first_page_and_goes_on_again(visit, company, tmp_path, width, scheme):
    page = visit(reverse("admin:index"), width, scheme)
    page.click("text=Stop all firmware…")
    page.wait_for_selector("#reason:focus")
    assert "Updates under way: 3." in page.locator("#content").inner_text()
    page.keyboard.type("Boot loops in Bremen")
    page.keyboard.press("Enter")
    page.wait_for_selector(".stop-banner")
    page.screenshot(path=tmp_path / f"stopped-{width}-{scheme}.png", full_page=True)
    assert "Boot loops in Bremen" in page.locator(".stop-banner").inner_text()
    assert page.evaluate(WIDE) == ""
    page.click("text=Lift the stop…")
    page.wait_for_selector("#reason:focus")
    page.keyboard.type("Found it")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Stop all firmware…")
    assert page.locator(".stop-banner").count() == 0
    assert Campaign.objects.filter(state="running").count() == 1
    assert page.errors == []


def test_a_revocation_says_what_it_stops(visit, company, tmp_path):
    key = company["release"].artifact.signatures.get().key
    page = visit(page_of("trustedkey", key))
    page.click("button[value=revoke]")
    page.screenshot(path=tmp_path / "revoke.png", full_page=True)
    assert "paused at once: 1, with updates under way: 3" in page.locator("#content").inner_text()
    page.fill("#reason", "The build server was broken into")
    page.click("input[type=submit].default")
    page.wait_for_url("**/change/")
    page.screenshot(path=tmp_path / "revoked.png", full_page=True)
    assert "Paused: Brown-out fix, week 47." in page.locator(".messagelist").inner_text()
    assert page.errors == []


def test_a_reason_is_read_on_a_phone(visit, company):
    """Wide enough for words; the table is moved sideways instead."""
    page = visit(reverse("admin:firmware_hold_changelist"), 390)
    widths = page.locator("td.field-reason").evaluate_all("all => all.map((each) => each.clientWidth)")
    assert len(widths) == 2 and min(widths) >= 140
    assert page.evaluate(WIDE) == ""
