"""Dead letters and exports as people see them: looked at, replayed and fetched, without an error in the console."""

import json
from datetime import timedelta
from pathlib import Path

import cbor2
import pytest
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from devices.models import Presence
from devices.registry import Incoming, Refused
from telemetry.exporting import exports
from telemetry.models import DeadLetter, Export, Reading, Replay
from telemetry.refused import deadletters, replays
from telemetry.refused.selections import Selection
from telemetry.store import store
from telemetry.tables import partitions
from tests.browser.test_identity_pages import LOOKS, WIDE
from tests.factories import DeviceFactory, DeviceTypeFactory, SchemaFactory, TenantFactory
from tests.fleetportal.workers import Worker
from tests.telemetry.messages import envelope, row, topic

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
HOUR = timedelta(hours=1)


@pytest.fixture
def worker():
    """Another process of the portal: the loop of the browser lives in this thread."""
    found = Worker()
    yield found
    found.end()


@pytest.fixture
def company(staff):
    """Letters of some kinds and devices, two replays, four exports."""
    now = timezone.now()
    partitions.make_ahead(now)
    tenant, kind = TenantFactory(name="Acme Foods"), DeviceTypeFactory(name="Cold logger CL-2")
    schema = SchemaFactory(device_type=kind)
    devices = [DeviceFactory(tenant=tenant, device_type=kind, name=f"Cold store {each}") for each in range(1, 8)]
    Presence.objects.filter(device__in=devices).update(firmware_version="1.4.2")

    def keep(device, values, reason, detail, path, ago, pack=json.dumps):
        packed = pack(envelope(values=values))
        body = packed if isinstance(packed, bytes) else packed.encode()
        said = Incoming(topic(device), body, 1)
        deadletters.keep([Refused(said, reason, detail, path, device.pk)], now - ago)

    for number, device in enumerate(devices[:4]):
        for each in range(3 + number):
            detail = f"{95 + each} is greater than the maximum of 80"
            keep(device, {"temperature_c": 75 + each}, "schema", detail, "$.values.temperature_c", each * HOUR)
    keep(devices[0], {}, "schema", '"temperature_c" is a required property', "$.values", HOUR, cbor2.dumps)
    keep(devices[5], {"temperature_c": 4}, "ts_ahead", "more than a day ahead", "$.ts", 7 * HOUR)
    stray = Incoming("/acme-foods/cold-logger/d-7f31a9/telemetry", b"\x00\xff\x17 not a message", 1)
    deadletters.keep([Refused(stray, "unknown_device", "no device 'd-7f31a9'", "topic", None)] * 40, now)
    with transaction.atomic():
        store([row(devices[0], schema, now - minute * timedelta(minutes=1), minute % 9) for minute in range(120)])
    done = Replay.objects.create(
        state="done", reason="schema", requested_by=staff, why="Limit raised to 90 °C", done=412, total=412, stored=398,
        duplicates=3, refused=11, started_at=now, finished_at=now, starts=1,
    )  # fmt: skip
    Replay.objects.create(
        state="failed", requested_by=staff, why="All of last night", done=3, total=90, starts=3, started_at=now,
        finished_at=now, error="It was begun 3 times, and each time its worker ended without a word.",
    )  # fmt: skip
    running = Replay.objects.create(
        state="running", device=devices[0], requested_by=staff, why="Compressor fix", done=1300, total=4210, starts=1,
        started_at=now, beat_at=now, stored=1288, refused=12,
    )  # fmt: skip
    ids = [each.device_id for each in devices]
    made = exports.request(staff, ids[:1], now - 3 * HOUR, now, "csv", "reading", now)
    exports.run(made.pk)
    exports.request(staff, ids[:3], now - 30 * 24 * HOUR, now, "parquet", "hour", now)
    told = {"tenant": tenant, "requested_by": staff, "since": now - 9 * 24 * HOUR, "until": now}
    for state, more in (
        ("running", {"done": 3, "total": 9, "beat_at": now}),
        (
            "failed",
            {"error": "More than 10,000,000 rows: take a shorter range or fewer devices."},
        ),
    ):
        Export.objects.create(state=state, **told, **more).devices.set(devices[:5])
    return {"devices": devices, "done": done, "running": running, "export": made}


def addresses(company):
    letter = DeadLetter.objects.filter(reason="schema", device=company["devices"][0]).order_by("-pk")
    raw = DeadLetter.objects.get(reason="unknown_device")

    def page(model, row):
        return reverse(f"admin:telemetry_{model}_change", args=[row.pk])

    groups = reverse("admin:telemetry_deadletter_changelist")
    return {
        "groups": groups,
        "groups-by-type": groups + "?by=type&reason=schema",
        "groups-mistake": groups + "?device=d-nobody",
        "groups-none": groups + "?until=2001-01-01T00:00",
        "letters": reverse("admin:telemetry_deadletter_letters") + "?reason=schema",
        "letter-cbor": page("deadletter", letter[0]) + "?try=1",
        "letter-json": page("deadletter", letter[1]) + "?try=1",
        "letter-bytes": page("deadletter", raw) + "?try=1",
        "replay-question": reverse("admin:telemetry_deadletter_replay") + "?reason=schema",
        "purge-question": reverse("admin:telemetry_deadletter_purge"),
        "replays": reverse("admin:telemetry_replay_changelist"),
        "replay-running": page("replay", company["running"]),
        "replay-done": page("replay", company["done"]),
        "exports": reverse("admin:telemetry_export_changelist"),
        "export": page("export", company["export"]),
        "customers-exports": reverse("exports") + f"?device={company['devices'][1].device_id}",
    }


@pytest.mark.browser_long
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_is_whole_and_quiet(visit, company, tmp_path, width, scheme):
    page = visit("/admin/", width, scheme)
    origin = page.url.split("/admin/")[0]
    wrong = {}
    for name, address in addresses(company).items():
        page.goto(origin + address)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
        wide = page.evaluate(WIDE)
        if page.errors or wide:
            wrong[name] = (wide, list(page.errors))
        page.errors.clear()
    assert wrong == {}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_group_is_replayed_with_progress_and_is_gone(visit, company, worker, tmp_path, width, scheme):
    """Values of 75 to 80 degrees are right by today's schema; the one without a temperature stays."""
    device = company["devices"][0]
    stored = Reading.objects.count()
    page = visit(reverse("admin:telemetry_deadletter_changelist") + f"?device={device.device_id}", width, scheme)
    page.click("td.acts-of a:has-text('Replay…')")
    page.wait_for_selector("#reason:focus")
    assert "4 dead letters" in page.locator("#content").inner_text()
    page.keyboard.type("Limit raised")
    page.keyboard.press("Enter")
    page.wait_for_selector("#job [data-moves]")
    assert "Waiting" in page.locator("#job").inner_text()
    made = Replay.objects.latest("pk")
    worker(replays.run, made.pk)
    page.wait_for_selector("#job .badge-done")
    page.screenshot(path=tmp_path / f"replayed-{width}-{scheme}.png", full_page=True)
    told = page.locator("#job").inner_text()
    assert "4 of 4 letters" in told
    assert page.locator("[data-poll-said]").inner_text() == "Done"
    assert Reading.objects.count() == stored + 3
    page.click("text=Dead letters >> nth=-1")
    assert list(Selection(device=device).rows().values_list("path", flat=True)) == ["$.values"]
    assert page.errors == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_an_export_is_asked_for_and_fetched_from_the_page(visit, company, worker, width, scheme):
    device = company["devices"][0]
    Export.objects.exclude(pk=company["export"].pk).update(state="canceled")
    page = visit(reverse("exports") + f"?device={device.device_id}", width, scheme)
    page.click("button:has-text('Make the file')")
    page.wait_for_selector("#exports [data-moves]")
    worker(exports.run, Export.objects.latest("pk").pk)
    page.wait_for_selector("#exports:not(:has([data-moves]))")
    with page.expect_download() as download:
        page.click("#exports li:first-child a:has-text('Download')")
    assert download.value.suggested_filename.endswith(".csv")
    assert Path(download.value.path()).read_bytes().count(b"\r\n") > 100
    assert page.evaluate(WIDE) == ""
    assert page.errors == []
