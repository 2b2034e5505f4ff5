"""A device's chart as people see it: ranges, zoom, other devices, what was usual; without a reload or an error."""

from datetime import datetime
from math import sin, tau
from zoneinfo import ZoneInfo

import pytest
from django.urls import reverse
from django.utils import timezone

from devices.models import Presence
from devices.people import preferences
from telemetry.models import Metric, Schema
from telemetry.rolled import rollups
from telemetry.tables import partitions
from tests.browser.axe import serious
from tests.browser.test_identity_pages import LOOKS, WIDE
from tests.factories import DeviceFactory, DeviceTypeFactory, TenantFactory
from tests.fleet import eventually
from tests.telemetry.messages import envelope, message
from tests.telemetry.past import DAY, HOUR, MINUTE, SECOND, say, wave

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
HELD = """() => {
  const { chart, main } = document.querySelector("live-chart");
  const [xs, ys] = [chart.data[0], chart.data[main]];
  return Object.fromEntries(xs.map((x, at) => [x, ys[at]]).filter(([, y]) => y !== null && y !== undefined));
}"""
BREAKS = """() => {
  const { chart, main } = document.querySelector("live-chart");
  return chart.data[main].filter((y) => y === null).length;
}"""
PAINTED = """(value) => {
  const { chart, main } = document.querySelector("live-chart");
  const at = chart.data[main].indexOf(value);
  const [x, y] = [chart.valToPos(chart.data[0][at], "x", true), chart.valToPos(value, chart.series[main].scale, true)];
  const { data } = chart.ctx.getImageData(Math.round(x) - 2, Math.round(y) - 2, 5, 5);
  const colours = Array.from({ length: 25 }, (_, pixel) => data.slice(4 * pixel, 4 * pixel + 3).join(", "));
  return colours.includes(getComputedStyle(document.querySelector(".swatch-1")).color.slice(4, -1));
}"""
"""Has the canvas the line's colour where a value is?"""
LISTEN = """() => {
  window.said = [];
  const look = { subtree: true, childList: true, characterData: true };
  for (const place of document.querySelectorAll("[role=status], [role=alert], [aria-live], output")) {
    new MutationObserver(() => window.said.push(place.textContent)).observe(place, look);
  }
  const name = { attributeFilter: ["aria-label"] };
  new MutationObserver(() => window.said.push("the name of what has the focus")).observe(document.activeElement, name);
}"""
"""Collects what a screen reader would say."""
FINGER = """() => {
  const over = document.querySelector(".u-over");
  const { left, top, width } = over.getBoundingClientRect();
  for (const [type, share] of [["down", 0.2], ["move", 0.4], ["move", 0.6], ["up", 0.6]]) {
    const at = { clientX: left + width * share, clientY: top + 50, pointerType: "touch", bubbles: true };
    over.dispatchEvent(new PointerEvent(`pointer${type}`, at));
  }
}"""


def value(moment):
    return 20 + 5 * sin(moment.timestamp() / 86400 * tau)


@pytest.fixture
def kind():
    found = DeviceTypeFactory(slug="cold-logger", name="Cold logger CL-2", silence_seconds=3600)
    schema = Schema.objects.create(device_type=found, version=1)
    metrics = [("temperature_c", "Temperature", "°C", "number"), ("humidity_pct", "Humidity", "%", "number")]
    metrics.append(("door_open", "Door open", "", "boolean"))
    for position, (name, label, unit, each) in enumerate(metrics):
        Metric.objects.create(schema=schema, position=position, name=name, label=label, unit=unit, kind=each)
    return found


@pytest.fixture
def device(staff, kind):
    """A year of hours, a day of minutes with two hours of silence and an hour much too warm, and the last minutes."""
    tenant, now = TenantFactory(slug="acme-foods", name="Acme Foods"), timezone.now()
    partitions.make_ahead(now)
    first, second = (
        DeviceFactory(device_type=kind, tenant=tenant, name=name) for name in ("Cold room 1", "Freezer at the back")
    )
    schema = kind.schemas.get()
    minutes = [now - number * MINUTE for number in range(24 * 60) if not 600 < number <= 720]
    for offset, each in ((0, first), (-3, second)):
        # Until after the hour in which that day's minutes would begin: no whole day is without a reading.
        wave(each, schema, now.replace(minute=0, second=0, microsecond=0) - 365 * DAY, now - 2 * DAY + HOUR)
        rows = [(at, warm(now - at) + value(at) + offset) for at in minutes]
        say(each, schema, [(at, [round(degrees, 2), 60 + offset, 0.0]) for at, degrees in rows])
        Presence.objects.filter(device=each).update(online=True, last_seen_at=now)
    rollups.roll_up(now)
    return first


def warm(ago):
    return 9 if 2 * HOUR < ago <= 3 * HOUR else 0


def ready(page, state="live"):
    page.wait_for_selector(f"live-chart [data-state={state}]")


def values(page, device, **asked):
    """What the API says of the temperature, as the chart should hold it."""
    query = "&".join(f"{name}={what}" for name, what in asked.items())
    answer = page.evaluate(
        "(url) => fetch(url).then((answer) => answer.json())",
        f"{reverse('series', args=[device.device_id])}?metric=temperature_c&{query}",
    )
    known = zip(answer["times"], answer["values"]["temperature_c"], strict=True)
    return {str(at): degrees for at, degrees in known if degrees is not None}, answer


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_range_shows_what_the_api_says(look, device, tmp_path, width, scheme):
    page = look(reverse("device", args=[device.device_id]), width, scheme)
    ready(page)
    for seconds in (900, 3600, 86400, 604800, 2592000, 31536000):
        with page.expect_response(lambda answer, asked=seconds: f"seconds={asked}&" in answer.url):
            page.click(f"[data-seconds='{seconds}']")
        ready(page)
        said, answer = values(page, device, seconds=seconds)
        held = page.evaluate(HELD)
        assert len(held) > 10
        same = [at for at in held if said.get(at) == held[at]]
        assert len(held) - len(same) <= 2  # a second has passed between the two
        gaps = answer["gaps"]["temperature_c"]
        assert bool(gaps) == (86400 <= seconds < 31536000)  # of two hours, and of a day
        assert (page.evaluate(BREAKS) > 0) == bool(gaps)
        page.screenshot(path=tmp_path / f"range-{seconds}-{width}-{scheme}.png")
        assert page.evaluate(WIDE) == ""
    assert page.errors == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_what_was_usual_several_values_and_other_devices(look, device, tmp_path, width, scheme):
    page = look(reverse("device", args=[device.device_id]), width, scheme)
    ready(page)
    page.click("[data-seconds='86400']")
    with page.expect_response("**/band?**") as band:
        page.click("text=Usual range")
    page.wait_for_selector(".legend .swatch-usual")
    outside = band.value.json()["outside"]
    assert 10 <= len(outside) <= 14
    marks = page.evaluate("document.querySelector('live-chart').chart.data.at(-1).filter((y) => y != null).length")
    assert marks == len(outside)
    page.screenshot(path=tmp_path / f"usual-{width}-{scheme}.png", full_page=True)
    page.click("text=Several values")
    page.click("[data-metric=humidity_pct]")
    page.wait_for_selector(".legend li:nth-child(2):has-text('Humidity')")
    assert page.is_disabled("[data-do=usual]")
    page.screenshot(path=tmp_path / f"several-{width}-{scheme}.png", full_page=True)
    page.click("text=Compare with…")
    page.fill("input[type=search]", "FREEZ")
    page.keyboard.press("Tab")
    with page.expect_response("**/api/v1/series?**") as compared:
        page.click(".compare-found button:has-text('Freezer at the back')")
    assert set(compared.value.json()["names"].values()) == {"Cold room 1", "Freezer at the back"}
    page.wait_for_selector(".legend li:nth-child(2):has-text('Freezer at the back')")
    difference = page.evaluate(
        """() => {
          const { chart, main } = document.querySelector("live-chart");
          const [one, other] = [chart.data[main], chart.data[main + 1]];
          return one.map((y, at) => (y == null || other[at] == null ? null : y - other[at])).filter((d) => d !== null);
        }"""
    )
    assert len(difference) > 200 and all(abs(each - 3) < 0.1 for each in difference)
    page.screenshot(path=tmp_path / f"compared-{width}-{scheme}.png", full_page=True)
    page.click(".compare-chosen button")
    page.wait_for_selector(".compare-chosen", state="hidden")
    page.wait_for_selector(".legend .swatch-usual")
    assert page.evaluate(WIDE) == ""
    assert page.errors == []


def test_a_part_is_looked_at_closer_and_left_again(look, device, tmp_path):
    page = look(reverse("device", args=[device.device_id]))
    ready(page)
    page.click("[data-seconds='86400']")
    ready(page)
    box = page.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 120, steps=5)
    with page.expect_response("**/series?since=**") as closer:
        page.mouse.up()
    ready(page, "past")
    answer = closer.value.json()
    assert abs(answer["until"] - answer["since"] - 6 * 3_600_000) <= 120_000
    assert page.locator("[data-seconds][aria-pressed=true]").count() == 0
    page.screenshot(path=tmp_path / "closer.png")
    page.focus(".plot")
    with page.expect_response("**/series?since=**") as closest:
        page.keyboard.press("+")
    assert closest.value.json()["until"] - closest.value.json()["since"] < 4 * 3_600_000
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_selector("[data-do=back]", state="hidden")
    ready(page)
    assert page.get_attribute("[data-seconds='86400']", "aria-pressed") == "true"
    page.keyboard.press("ArrowLeft")
    assert "°C" in page.inner_text(".readout")
    with page.expect_response("**/series?since=**"):
        page.evaluate(FINGER)
    page.click("[data-do=back]")
    ready(page)
    assert page.errors == []
    page.route("**/series?**", lambda route: route.fulfill(status=500))
    page.click("[data-seconds='3600']")
    ready(page, "failed")
    page.wait_for_selector(".plot-note:has-text('could not be loaded')")
    page.wait_for_selector(".chart[data-before]")  # what was drawn before is not taken for the answer
    page.unroute("**/series?**")
    ready(page)  # by itself
    page.wait_for_selector(".chart:not([data-before])")
    assert not page.is_visible(".plot-note")


def test_any_range_may_be_typed_and_is_of_the_viewers_zone(look, device, tmp_path):
    page = look(reverse("device", args=[device.device_id]), 390)
    ready(page)
    page.click("text=Other range")
    page.fill("[name=from]", "2026-01-05T00:00")
    page.fill("[name=to]", "2026-01-04T00:00")
    page.click(".custom button")
    assert (
        page.evaluate("document.querySelector('[name=to]').validationMessage") == "It must be later than the beginning."
    )
    page.fill("[name=to]", "2026-01-06T00:00")
    page.screenshot(path=tmp_path / "typed.png", full_page=True)
    with page.expect_response("**/series?since=**") as asked:
        page.click(".custom button")
    expected = page.evaluate("new Date('2026-01-05T00:00').getTime()")
    assert f"since={expected}&until={expected + 86_400_000}&" in asked.value.url
    ready(page, "past")
    assert page.evaluate(WIDE) == ""
    assert page.errors == []


def test_a_typed_range_is_of_the_zone_that_somebody_chose(look, device, staff, client):
    """The day on which the clocks of New York go forward: 23 hours, whatever the browser's own zone is."""
    preferences.save(staff, "America/New_York", "system")
    client.force_login(staff)
    page = look(reverse("device", args=[device.device_id]))
    ready(page)
    page.click("text=Other range")
    assert page.inner_text(".custom-zone") == "Times are of America/New York."
    page.fill("[name=from]", "2026-03-08T00:00")
    page.fill("[name=to]", "2026-03-09T00:00")
    with page.expect_response("**/series?since=**") as asked:
        page.click(".custom button")
    since, until = (datetime(2026, 3, day, tzinfo=ZoneInfo("America/New_York")) for day in (8, 9))
    assert until.timestamp() - since.timestamp() == 23 * 3600
    assert f"since={since.timestamp() * 1000:.0f}&until={until.timestamp() * 1000:.0f}&" in asked.value.url
    ready(page, "past")
    page.click("text=Other range")  # closed, and opened again
    page.click("text=Other range")
    assert [page.input_value(f"[name={name}]") for name in ("from", "to")] == ["2026-03-08T00:00", "2026-03-09T00:00"]
    page.click("[data-do=export]")  # its days are those of UTC
    assert [page.input_value(f"[name={name}]") for name in ("first", "last")] == ["2026-03-08", "2026-03-09"]
    assert page.is_checked(f"[name=device][value='{device.device_id}']")
    assert page.errors == []


def test_the_figures_are_there_as_a_table_too(look, device, tmp_path):
    page = look(reverse("device", args=[device.device_id]), 390, "dark")
    ready(page)
    page.focus(".chart-figures summary")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chart-figures tbody tr")
    with page.expect_response("**/series?seconds=86400&**"):
        page.click("[data-seconds='86400']")
    page.wait_for_selector(".chart-figures caption:has-text('steps of 1 h')")
    rows = [each.split("\t") for each in page.locator(".chart-figures tbody tr").all_inner_texts()]
    assert 22 <= len(rows) <= 24  # of 25 hours that the range touches, the device was silent for one or two
    summed = [page.inner_text(f"[data-sum={name}]") for name in ("low", "high")]
    lowest, highest = min(float(each[2]) for each in rows), max(float(each[3]) for each in rows)
    assert summed == [f"{lowest:.2f} °C", f"{highest:.2f} °C"]
    page.screenshot(path=tmp_path / "table.png", full_page=True)
    assert page.evaluate(WIDE) == "" and serious(page) == []
    assert page.errors == []


def test_a_reading_that_stands_alone_is_seen(look, device):
    lonely, now = DeviceFactory(device_type=device.device_type, tenant=device.tenant), timezone.now()
    seconds = [now - number * SECOND for number in range(60)]
    say(lonely, device.device_type.schemas.get(), [(now - 10 * MINUTE, 9.0), *((at, 4.0) for at in seconds)])
    page = look(reverse("device", args=[lonely.device_id]))
    ready(page)
    assert 9.0 in page.evaluate(HELD).values()
    assert page.evaluate(PAINTED, 4.0) and page.evaluate(PAINTED, 9.0)
    assert page.errors == []


def test_it_goes_on_living_and_a_long_range_too(look, device, worker, rooms):
    page = look(reverse("device", args=[device.device_id]))
    ready(page)
    for seconds, degrees in ((900, 33.25), (86400, 44.5)):
        page.click(f"[data-seconds='{seconds}']")
        ready(page)
        page.focus(".plot")
        page.evaluate(LISTEN)
        said = envelope(values={"temperature_c": degrees, "humidity_pct": 50, "door_open": True})
        worker(rooms.take, 1, [message(device, said)])
        eventually(lambda degrees=degrees: list(page.evaluate(HELD).values())[-1] == degrees, what="the new reading")
        assert page.inner_text("#value-temperature_c") == f"{degrees:.2f}"
        assert page.evaluate("window.said") == []  # nobody is told of each reading
    assert page.errors == []


def test_the_chart_of_the_admin_is_the_same(look, device, tmp_path):
    page = look(reverse("admin:devices_device_change", args=[device.pk]) + "#live", 390, "dark")
    ready(page)
    page.click("[data-seconds='604800']")
    page.click("text=Usual range")
    page.wait_for_selector(".legend .swatch-usual")
    page.click("text=Compare with…")
    page.wait_for_selector(".compare-found button")
    page.click(".chart-figures summary")
    page.wait_for_selector(".chart-figures tbody tr")
    page.screenshot(path=tmp_path / "admin.png", full_page=True)
    assert page.evaluate(WIDE) == ""
    assert page.errors == []


def test_a_device_without_a_past_says_so(look, device, tmp_path):
    """Nothing in the range, too few days for a band, nobody to compare with."""
    schema = device.device_type.schemas.get()
    lonely = DeviceFactory(device_type=device.device_type, tenant=TenantFactory(), name="Lonely")
    say(lonely, schema, [(timezone.now() - 2 * HOUR, 4.0)])
    page = look(reverse("device", args=[lonely.device_id]))
    ready(page, "empty")
    assert page.inner_text(".plot-note") == "No readings in the last 15 minutes."
    page.click("text=Usual range")
    page.wait_for_selector(".legend :text('fewer than 7 days')")
    page.click("text=Compare with…")
    page.wait_for_selector(".compare-note:text('No other device measures this.')")
    page.screenshot(path=tmp_path / "lonely.png", full_page=True)
    assert page.errors == []
