"""Rules of retention and archived days as people see them."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from telemetry.models import ArchivedDay, Retention
from tests.browser.test_identity_pages import WIDE
from tests.factories import DeviceFactory, DeviceTypeFactory, TenantFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def rule(staff):
    """A rule under way, and two archived days."""
    tenant, kind = TenantFactory(name="Nordic Cold Chain"), DeviceTypeFactory(name="Cold logger CL-2")
    DeviceFactory.create_batch(3, tenant=tenant, device_type=kind)
    now = timezone.now()
    for age in (402, 403):
        ArchivedDay.objects.create(
            day=now.date() - timedelta(days=age), path=f"readings/{age}.1.parquet", rows=17_280_000, size=180_000_000,
            digest="d1" * 32, file_digest="f1" * 32, first_ts=now, last_ts=now, archived_at=now, dropped_at=now,
            tenants=[tenant.pk], device_types=[kind.pk],
        )  # fmt: skip
    reason = "Data processing agreement of 2025-03-01, section 4: pictures of the cold room's door"
    return Retention.objects.create(tenant=tenant, device_type=kind, days=90, reason=reason, reached=now.date())


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_rule_is_looked_at_before_it_deletes(visit, rule, tmp_path, width, scheme):
    part = ArchivedDay.objects.first()
    page = visit("/admin/", width, scheme)
    origin, wrong = page.url.split("/admin/")[0], {}

    def look(name):
        page.wait_for_load_state("networkidle")
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
        found = (page.evaluate(WIDE), list(page.errors))
        if found != ("", []):
            wrong[name] = found
        page.errors.clear()

    for name, address in {
        "rules": reverse("admin:telemetry_retention_changelist"),
        "days": reverse("admin:telemetry_archivedday_changelist"),
        "day": reverse("admin:telemetry_archivedday_change", args=[part.pk]),
        "new": reverse("admin:telemetry_retention_add"),
        "rule": reverse("admin:telemetry_retention_change", args=[rule.pk]),
    }.items():
        page.goto(origin + address)
        look(name)
    page.fill("[name=days]", "30")
    page.press("[name=days]", "Enter")
    page.wait_for_selector("text=does not come back")
    look("preview")
    assert "Nordic Cold Chain · Cold logger CL-2: 3 devices" in page.locator(".decision-rows").inner_text()
    page.click("text=Back")
    assert page.input_value("[name=days]") == "30"
    page.press("[name=days]", "Enter")
    page.click("text=Delete by this rule")
    page.wait_for_selector(".messagelist")
    rule.refresh_from_db()
    assert rule.days == 30
    assert wrong == {}
