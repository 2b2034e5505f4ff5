"""The staff's pages of schemas as people see them: edited, tried, cut."""

import pytest
from django.urls import reverse
from django.utils import timezone

from devices.registry import Refused
from telemetry.models import Metric, Schema
from telemetry.refused import deadletters
from tests.browser.test_identity_pages import LOOKS, WIDE
from tests.factories import DeviceFactory, DeviceTypeFactory, SchemaFactory
from tests.telemetry.messages import envelope, message

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def version(staff):
    """A version in use, an older one, and a refused message."""
    kind = DeviceTypeFactory(name="Cold logger CL-2", slug="cold-logger")
    SchemaFactory(device_type=kind, open=True)
    found = SchemaFactory(device_type=kind, version=2)
    for name, label in (("temperature_c", "Temperature"), ("humidity_pct", "Humidity"), ("door_open", "Door open")):
        Metric.objects.filter(schema=found, name=name).update(label=label)
    device = DeviceFactory(device_type=kind)
    told = message(device, envelope(schema_version=2, values={"temperature_c": 85}))
    deadletters.keep([Refused(told, "schema", "85 is too much", "$.values.temperature_c", device.pk)], timezone.now())
    return found


def page_of(version):
    return reverse("admin:telemetry_schema_change", args=[version.pk])


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_is_whole_and_quiet(visit, version, tmp_path, width, scheme):
    add = reverse("admin:telemetry_schema_add")
    addresses = {
        "list": reverse("admin:telemetry_schema_changelist"),
        "version": page_of(version),
        "types": add,
        "cut": f"{add}?device_type=cold-logger&from=2",
    }
    page = visit("/admin/", width, scheme)
    origin, wrong = page.url.split("/admin/")[0], {}
    for name, address in addresses.items():
        page.goto(origin + address)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
        wide = page.evaluate(WIDE)
        if page.errors or wide:
            wrong[name] = (wide, list(page.errors))
        page.errors.clear()
    assert wrong == {}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_version_is_edited_tried_and_saved_without_losing_a_word(visit, version, tmp_path, width, scheme):
    page = visit(page_of(version), width, scheme)

    def look(name):
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
        assert page.evaluate(WIDE) == ""

    page.click("text=Try the newest dead letters")
    page.wait_for_selector("text=0 of 1 would pass")
    page.fill("[name=metric-0-maximum]", "70")
    page.fill("#payload", '{"temperature_c": 85, "rssi": -70}')
    page.click(".try [name=_try]")
    page.wait_for_selector("text=It would be refused")
    look("refused")
    assert "Was 80: larger values would be refused" in page.locator("tr.wrong").inner_text()
    assert "$.values.temperature_c" in page.locator("#tried").inner_text()
    page.fill("[name=metric-0-maximum]", "90")
    page.click("text=Add a metric")
    assert page.evaluate("document.activeElement.name") == "metric-4-name"
    page.keyboard.type("rssi")
    page.fill("[name=metric-4-label]", "Signal")
    page.select_option("[name=metric-4-kind]", "integer")
    page.fill("[name=metric-4-unit]", "dBm")
    page.keyboard.press("Enter")  # tries: Enter never saves
    page.wait_for_selector("text=It would be stored")
    look("stored")
    assert page.locator(".errorlist").count() == 0
    page.click("text=Try the newest dead letters")
    page.wait_for_selector("text=1 of 1 would pass")
    look("letters")
    page.fill("[name=reason]", "A new probe")
    page.click("text=Save changes")
    page.wait_for_selector("text=was changed")
    look("saved")
    version.refresh_from_db()
    assert (version.revision, version.metrics.get(name="rssi").unit) == (2, "dBm")
    page.click("#example + .buttons [data-copy]")
    page.wait_for_selector("text=Copied")
    assert '"rssi"' in page.evaluate("navigator.clipboard.readText()")
    assert page.errors == []


def test_the_next_version_is_cut_in_another_order(visit, version, tmp_path):
    page = visit(page_of(version))
    page.click("text=New version from this")
    page.wait_for_selector("text=cut version 3")
    page.fill("[name=metric-0-unit]", "K")
    page.check("[name=metric-3-remove]")
    page.click("tr:has([name=metric-1-name]) [aria-label=Up]")
    page.screenshot(path=tmp_path / "moved.png", full_page=True)
    page.fill("[name=reason]", "Kelvin")
    page.click("button.default")
    page.wait_for_url("**/change/")
    made = Schema.objects.get(device_type=version.device_type, version=3)
    assert page.url.endswith(page_of(made))
    told = made.metrics.order_by("position").values_list("name", "unit")
    assert list(told) == [("humidity_pct", "%"), ("temperature_c", "K"), ("door_open", "")]
    assert page.errors == []


def test_all_of_it_goes_without_script(visit, version):
    page = visit(page_of(version), script=False)
    page.fill("[name=metric-0-label]", "Air")
    page.click("text=Add a metric")
    page.fill("[name=metric-4-name]", "rssi")
    page.fill("#payload", '{"temperature_c": 4, "rssi": -70}')
    page.click(".try [name=_try]")
    assert "People read this" in page.locator("tr.wrong").inner_text()
    page.fill("[name=metric-4-label]", "Signal")
    page.click(".try [name=_try]")
    assert "It would be stored" in page.locator("#tried").inner_text()
    page.fill("[name=reason]", "A new probe")
    page.click("text=Save changes")
    assert "was changed" in page.locator(".messagelist").inner_text()
    assert [each.label for each in version.metrics.all()][::4] == ["Air", "Signal"]
