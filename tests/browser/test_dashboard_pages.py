"""Customers' pages in a browser: seen, heard, typed, watched, and left by the network."""

import gzip
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from devices import certificates, claim_codes, claims, evidence, pki
from devices.models import Certificate, Device, Presence, SavedView, Site
from telemetry.rolled import rollups
from telemetry.tables import partitions
from tests.browser.axe import serious
from tests.browser.test_chart_page import HELD, kind, ready, value  # noqa: F401 (kind is a fixture)
from tests.browser.test_identity_pages import WIDE
from tests.devices import peers
from tests.factories import DeviceFactory, StaffFactory, TenantFactory, member
from tests.firmware import fleet
from tests.fleet import eventually
from tests.telemetry.messages import envelope, message
from tests.telemetry.past import DAY, HOUR, MINUTE, say

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LIMIT = 150_000
"""Bytes of script and style that a page may load, packed."""
LOOKS = [(1280, "light"), (390, "dark")]


@pytest.fixture
def place(ca, kind):  # noqa: F811
    """A tenant with three devices; the first has a past, firmware that changed, and all else that a page shows."""
    now = timezone.now()
    partitions.make_ahead(now)
    tenant = TenantFactory(slug="acme-foods", name="Acme Foods")
    site = Site.objects.create(tenant=tenant, name="Warehouse north")
    names = ["Cold room 1", "Cold room 2", "Freezer at the back"]
    devices = [DeviceFactory(device_type=kind, tenant=tenant, name=name, site=site, tags=["frozen"]) for name in names]
    schema = kind.schemas.get()
    for offset, device in enumerate(devices):
        minutes = [now - number * MINUTE for number in range(90)]
        say(device, schema, [(at, [round(value(at) + offset, 2), 60.0, 0.0]) for at in minutes])
        Presence.objects.filter(device=device).update(
            online=offset < 2, last_seen_at=now, firmware_version="1.4.2", rssi_dbm=-61, skew_ms=12, session=1
        )
        evidence.record("device.enrolled", device=device, actor="claim")
    rollups.roll_up(now)
    first = devices[0]
    certificates.issue(first, pki.read_request(peers.csr().encode()), now)
    campaign = fleet.campaign(fleet.release("1.4.2", kind), name="Spring")
    ended = {"ended_at": now - 7 * MINUTE, "rebooting_at": now - 8 * MINUTE, "from_version": "1.4.1"}
    fleet.offered(campaign, [first], "succeeded", waiting="", **ended)
    return tenant


@pytest.fixture
def owner(place):
    return member(place, username="olga")


@pytest.fixture
def first(place):
    return Device.objects.get(name="Cold room 1")


@pytest.fixture
def code(kind):  # noqa: F811
    claim = claims.of_token(peers.claim_token(TenantFactory(slug="stock"), kind))
    return claim_codes.make(claim, "CL2-2026-00417", StaffFactory(), timezone.now())[1]


@pytest.fixture
def enter(browser, server):
    """Open a page as somebody; what goes wrong is collected in `page.errors`, what is loaded in `page.loaded`."""
    contexts = []

    def open_page(user, path, width=1280, scheme="light", **options):
        client = Client()
        client.force_login(user)
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": server.url}])
        contexts.append(context)
        page = context.new_page()
        page.errors, page.loaded = [], []
        page.on("console", lambda said: page.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))

        def loaded(answer):  # Playwright takes no builtin
            page.loaded.append(answer)

        page.on("response", loaded)
        page.goto(server.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()


def reading(degrees, **changes):
    return envelope(values={"temperature_c": degrees, "humidity_pct": 50, "door_open": True}, **changes)


def addresses(device, code):
    """Name → address of every page of devices that customers have, in each of its states."""
    of = {"args": [device.device_id]}
    return {
        "overview": reverse("overview"),
        "list": reverse("device-list"),
        "list-filtered": reverse("device-list") + "?q=cold&state=online",
        "list-nothing": reverse("device-list") + "?q=nothing+like+it",
        "device": reverse("device", **of),
        "events": reverse("device-events", **of),
        "edit": reverse("device-edit", **of),
        "add": reverse("device-add"),
        "add-found": reverse("device-add") + f"?code={code}",
        "add-wrong": reverse("device-add") + "?code=1111-1111-1111-1111",
        "exports": reverse("exports"),
    }


def weight(page):
    """Bytes of script and style that the page has loaded, packed as a proxy would."""
    parts = [each for each in page.loaded if each.request.resource_type in ("script", "stylesheet")]
    return sum(len(gzip.compress(each.body())) for each in parts)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_is_whole_light_and_has_no_serious_issue(enter, owner, first, code, tmp_path, width, scheme):
    of_list = {"user": owner, "page": reverse("device-list")}
    SavedView.objects.create(name="Frozen, offline", query="state=offline&tag=frozen", **of_list)
    page, wrong = enter(owner, "/preferences/", width, scheme), {}
    origin = page.url.removesuffix("/preferences/")
    for name, address in addresses(first, code).items():
        page.loaded.clear()
        page.goto(origin + address)
        page.wait_for_load_state("networkidle")
        if name == "device":
            ready(page)
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
        found = [page.evaluate(WIDE), weight(page) > LIMIT, serious(page), list(page.errors)]
        if any(found):
            wrong[name] = found
        page.errors.clear()
    assert wrong == {}


def test_watched_live_the_network_goes_and_what_was_missed_is_there_when_it_is_back(
    enter, owner, first, worker, rooms, tmp_path
):
    page = enter(owner, reverse("device", args=[first.device_id]), 390, "dark")
    ready(page)

    def say_it(degrees):
        worker(rooms.take, 1, [message(first, reading(degrees))])

    def heard(degrees):
        return page.inner_text("#value-temperature_c") == f"{degrees:.2f}" and degrees in page.evaluate(HELD).values()

    page.evaluate("window.kept = true")
    say_it(33.25)
    eventually(lambda: heard(33.25), what="the new reading")
    assert page.inner_text("[data-live-state]") == "Live"
    page.context.set_offline(True)
    page.wait_for_selector("[data-live-state=lost]:has-text('You are offline')")
    page.wait_for_selector("[data-state=lost]")
    muted = page.evaluate("getComputedStyle(document.querySelector('.tile .unit')).color")
    assert page.evaluate("getComputedStyle(document.querySelector('.tile-figure')).color") == muted
    assert page.evaluate(WIDE) == ""
    page.screenshot(path=tmp_path / "offline.png")
    say_it(41.5)
    Presence.objects.filter(device=first).update(rssi_dbm=-77)
    assert not heard(41.5)
    page.context.set_offline(False)
    page.wait_for_selector("[data-live-state=open]")
    eventually(lambda: heard(41.5), what="what was missed")
    page.wait_for_selector("#facts:has-text('-77 dBm')")
    assert page.evaluate("window.kept")  # never reloaded
    assert [each for each in page.errors if "ERR_INTERNET_DISCONNECTED" not in each] == []


def test_a_device_that_says_nothing_for_too_long_is_called_silent(enter, owner, first, worker, rooms):
    first.device_type.silence_seconds = 10
    first.device_type.save()
    Presence.objects.filter(device=first).update(last_seen_at=timezone.now() - timedelta(seconds=8))
    page = enter(owner, reverse("device-list") + "?q=cold+room+1")
    page.wait_for_selector("[data-presence]:has-text('Online')")
    page.wait_for_selector("[data-presence].badge-stale:has-text('Silent')")
    worker(rooms.take, 1, [message(first, reading(3.0))])
    page.wait_for_selector("[data-presence].badge-online:has-text('Online')")
    assert page.errors == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_what_needs_a_look_leads_to_where_it_is_told(enter, owner, first, place, tmp_path, width, scheme):
    """An update that failed on more devices than are listed, a certificate that ends, and somebody away for days."""
    now, name = timezone.now(), "A freezer whose name is rather long for the width of a phone"
    usual = {"device_type": first.device_type, "tenant": place}
    others = [DeviceFactory(name=f"{name} {number}", **usual) for number in range(6)]
    campaign = fleet.campaign(fleet.release("1.5.0", first.device_type), name="Summer")
    fleet.offered(campaign, others, "failed", ended_at=now, reason_code="self_check")
    Certificate.objects.filter(device=first).update(
        state="active", not_before=now - 80 * DAY, renew_at=now - 11 * DAY, not_after=now + 10 * DAY
    )
    Presence.objects.filter(device__name="Freezer at the back").update(last_seen_at=now - 3 * DAY - 4 * HOUR)
    page = enter(owner, reverse("overview"), width, scheme)
    page.screenshot(path=tmp_path / f"looks-{width}-{scheme}.png", full_page=True)
    assert page.locator(".looks li:has-text('Update failed')").count() == 5
    assert page.evaluate(WIDE) == "" and serious(page) == []
    page.click(".looks li:has-text('Certificate ends') a")
    ready(page)
    assert page.locator("#identity .badge:has-text('Late')").bounding_box()["y"] < 900
    page.screenshot(path=tmp_path / f"landed-{width}-{scheme}.png")
    assert serious(page) == []
    page.go_back()
    page.click("text=All with a failed update")
    page.wait_for_url("**/devices/?state=failed")
    assert page.locator("tbody tr .badge:has-text('Update failed')").count() == 6
    page.screenshot(path=tmp_path / f"failed-{width}-{scheme}.png", full_page=True)
    assert page.evaluate(WIDE) == "" and serious(page) == []
    page.click("tbody a >> nth=0")
    page.wait_for_selector("#firmware .badge:has-text('Failed')")
    assert "did not pass its self-check" in page.inner_text("#firmware")
    assert page.errors == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_a_chain_sees_first_which_of_its_sites_has_a_problem(enter, owner, first, place, tmp_path, width, scheme):
    names = ["Lyon depot", *(f"Shop {number} in a street with a long name" for number in range(10, 20))]
    for name in names:
        site = Site.objects.create(tenant=place, name=name)
        fleet.devices(4, first.device_type, tenant=place, site=site)
    Presence.objects.filter(device__site__name="Lyon depot").update(online=False)
    page = enter(owner, reverse("overview"), width, scheme)
    page.screenshot(path=tmp_path / f"sites-{width}-{scheme}.png", full_page=True)
    told = page.locator(".sites li").all_inner_texts()
    assert len(told) == 8 and "4 of 4 offline" in told[0] and "1 of 3 offline" in told[1] and "offline" not in told[2]
    assert page.evaluate(WIDE) == "" and serious(page) == []
    page.goto(page.url + "exports/")
    page.screenshot(path=tmp_path / f"ticks-{width}-{scheme}.png", full_page=True)
    page.go_back()
    page.click(".sites a >> nth=0")
    page.wait_for_selector("tbody td.row-site:text('Lyon depot') >> nth=3", state="attached")
    assert page.locator("tbody tr").count() == 4
    assert page.errors == []


def test_no_moment_breaks_in_the_middle(enter, owner, first):
    Presence.objects.filter(device=first).update(online=False, last_seen_at=timezone.now() - 3 * DAY - 4 * HOUR)
    page = enter(owner, reverse("device-list") + "?q=cold+room+1", java_script_enabled=False)
    seen = page.locator("td.row-seen time")
    assert seen.inner_text() == "3\xa0days, 4\xa0hours ago"
    assert seen.bounding_box()["height"] < 30


def test_what_a_chart_shows_is_in_the_address(enter, owner, first, place):
    other = Device.objects.get(name="Cold room 2")
    page = enter(owner, reverse("device", args=[first.device_id]))
    ready(page)
    assert "?" not in page.url
    page.click("[data-seconds='3600']")
    page.click("text=Several values")
    page.click("[data-metric=humidity_pct]")
    page.wait_for_selector(".legend li:nth-child(2):has-text('Humidity')")
    assert page.url.endswith("?range=3600&metric=temperature_c&metric=humidity_pct")
    page.reload()
    page.wait_for_selector(".legend li:nth-child(2):has-text('Humidity')")
    assert page.get_attribute("[data-seconds='3600']", "aria-pressed") == "true"
    page.goto(page.url.partition("?")[0] + f"?range=86400&metric=humidity_pct&with={other.device_id}&with=x%00&usual=1")
    page.wait_for_selector(".legend li:nth-child(2):has-text('Cold room 2')")
    assert page.inner_text("#chart-title") == "Humidity"
    assert page.errors == []
    page.goto(page.url.partition("?")[0] + "?since=1&until=x&metric=none&range=7&with=")
    ready(page)
    assert page.inner_text("#chart-title") == "Temperature"
    assert "1.4.2" in page.get_attribute(".plot", "aria-label")
    assert page.errors == []


def test_devices_beside_each_other_are_drawn_as_they_speak(enter, owner, first, worker, rooms):
    other = Device.objects.get(name="Cold room 2")
    page = enter(owner, reverse("device", args=[first.device_id]) + f"?with={other.device_id}")
    page.wait_for_selector(".legend li:nth-child(2):has-text('Cold room 2')")
    ready(page)
    page.loaded.clear()
    for device, degrees, line in ((other, 50.5, 1), (first, 40.25, 0), (other, 51.5, 1)):
        worker(rooms.take, 1, [message(device, reading(degrees))])
        newest = f"document.querySelector('live-chart').chart.data.at({line} - 2).filter((y) => y != null).at(-1)"
        eventually(lambda ask=newest, said=degrees: page.evaluate(ask) == said, what=f"{degrees} of {device}")
    assert [each.url for each in page.loaded if "/series" in each.url] == []
    assert page.errors == []


def test_a_clock_that_was_ahead_is_set_right_while_the_chart_is_open(enter, owner, first, worker, rooms):
    page = enter(owner, reverse("device", args=[first.device_id]))
    ready(page)

    def say_it(degrees, **ahead):
        ts = (timezone.now() + timedelta(**ahead)).isoformat(timespec="milliseconds")
        worker(rooms.take, 1, [message(first, reading(degrees, ts=ts))])
        eventually(lambda: page.inner_text("#value-temperature_c") == f"{degrees:.2f}", what=f"{degrees}")

    say_it(31.5, hours=2)
    say_it(32.5)
    eventually(lambda: list(page.evaluate(HELD).values())[-1] == 32.5, what="the chart is of now again")
    assert page.errors == []


def test_everything_can_be_done_with_the_keyboard(enter, owner, first, code):
    page = enter(owner, reverse("device-list"))

    def tab_to(selector, most=60):
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"{selector} shows no focus"
                return
        raise AssertionError(f"{selector} cannot be reached")

    tab_to(".skip")
    tab_to("input[name=q]")
    page.keyboard.type("cold room 1")
    tab_to(".more summary")
    page.keyboard.press("Enter")
    tab_to("select[name=state]")
    page.keyboard.type("Onl")
    tab_to("input[name=tag]")
    page.keyboard.type("frozen")
    page.keyboard.press("Enter")
    page.wait_for_url("**/devices/?q=cold+room+1&state=online&**")
    tab_to("#view-name")
    page.keyboard.type("My cold room")
    page.keyboard.press("Enter")
    page.wait_for_selector(".message:has-text('My cold room')")
    tab_to("tbody a")
    page.keyboard.press("Enter")
    ready(page)
    tab_to("[data-seconds='3600']")
    page.keyboard.press("Space")
    tab_to("[data-do=compare]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".compare-found button")
    tab_to(".compare-found button")
    page.keyboard.press("Enter")
    page.wait_for_selector(".legend li:nth-child(2)")
    tab_to(".plot")
    page.keyboard.press("ArrowLeft")
    assert "°C" in page.inner_text(".readout")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.focus(".crumbs a")
    tab_to(".menu a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/edit/")
    tab_to("input[name=name]")
    page.keyboard.press("Control+A")
    page.keyboard.type("Cold room 101")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Cold room 101')")
    page.goto(page.url.partition("/devices/")[0] + reverse("device-add"))
    tab_to("input[name=code]")
    page.keyboard.type(code.lower().replace("-", ""))
    page.keyboard.press("Enter")
    page.wait_for_selector("text=CL2-2026-00417")
    tab_to("main button")
    page.keyboard.press("Enter")
    page.wait_for_selector(".badge:has-text('Not joined yet')")
    assert Device.objects.get(hardware_id="CL2-2026-00417").tenant.slug == "acme-foods"
    assert page.errors == []


def test_pages_can_be_read_and_used_without_script(enter, owner, first, code):
    page = enter(owner, reverse("overview"), java_script_enabled=False)
    assert "Cold room 1" in page.inner_text("main") and "UTC" not in page.title()
    page.goto(page.url + "devices/")
    page.fill("input[name=q]", "cold")
    page.click("button:has-text('Show')")
    assert page.locator("tbody tr").count() == 2
    page.click("tbody a >> nth=0")
    told = page.inner_text("main")
    assert all(each in told for each in ("Temperature", "°C", "-61 dBm", "1.4.2", "Valid until", "needs JavaScript"))
    assert page.locator("details").first.is_visible()  # who is signed in
    page.goto(page.url.partition("/devices/")[0] + reverse("device-add"))
    page.fill("input[name=code]", code)
    page.click("text=Look it up")
    page.click("text=Add this device")
    assert page.inner_text("h1").startswith("Cold logger CL-2 CL2-2026-00417")
