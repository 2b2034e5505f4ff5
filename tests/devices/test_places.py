"""A device and a claim are at places, and in groups, of their own tenant: no door can say otherwise."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.urls import reverse

from devices.models import Event, Group
from tests.factories import DeviceFactory, DeviceTypeFactory, SiteFactory, StaffFactory, TenantFactory
from tests.fleetportal import world

pytestmark = pytest.mark.django_db


def test_a_site_of_another_tenant_is_refused_by_the_form_and_by_the_database():
    device, site = DeviceFactory(), SiteFactory()
    device.site = site
    with pytest.raises(ValidationError, match="another tenant"):
        device.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        device.save()
        connection.check_constraints()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_a_site_of_its_own_tenant_is_fine():
    device = DeviceFactory()
    device.site = SiteFactory(tenant=device.tenant)
    device.full_clean()
    device.save()


def test_a_group_of_another_tenant_is_refused_by_the_database():
    device = DeviceFactory()
    with pytest.raises(IntegrityError), transaction.atomic():
        device.groups.add(Group.objects.create(tenant=TenantFactory(), name="theirs"))
    device.groups.add(Group.objects.create(tenant=device.tenant, name="ours"))


def test_the_admin_says_so_instead_of_failing(client):
    device = DeviceFactory()
    theirs = Group.objects.create(tenant=TenantFactory(), name="theirs")
    client.force_login(StaffFactory())
    url = reverse("admin:devices_device_change", args=[device.pk])
    answer = client.post(url, {"name": "x", "site": SiteFactory().pk, "groups": [theirs.pk]})
    assert answer.status_code == 200
    assert b"another tenant" in answer.content
    assert b"Of another tenant: theirs" in answer.content


def form(client, url):
    """What a browser would send back of a page."""
    page = client.get(url).context["adminform"].form
    told = {name: value for name, value in page.initial.items() if value is not None}
    prefix = "memberships"
    return told | {f"{prefix}-{each}": 0 for each in ("TOTAL_FORMS", "INITIAL_FORMS")}


@pytest.mark.parametrize("make", [DeviceTypeFactory, TenantFactory])
def test_a_budget_of_readings_is_set_on_the_page_and_evidence_says_from_what_to_what(client, make):
    row = make(telemetry_per_minute=600)
    name = row._meta.model_name
    client.force_login(world.staff("Fleet operator"))
    url = reverse(f"admin:devices_{name}_change", args=[row.pk])
    for budget, before, now in (("1200", 600, 1200), ("", 1200, None)):
        answer = client.post(url, form(client, url) | {"telemetry_per_minute": budget, "why": "Contract"})
        assert answer.status_code == 302, answer.context["adminform"].form.errors
        row.refresh_from_db()
        assert row.telemetry_per_minute == now
        event = Event.objects.filter(kind=f"{name}.budget").first()
        assert event.reason == "Contract"
        assert event.detail["per_minute"] == {"before": before, "now": now}
        assert event.tenant == (row if make is TenantFactory else None)
    client.post(url, form(client, url) | {"name": "Renamed", "why": "x"})
    assert Event.objects.filter(kind=f"{name}.budget").count() == 2, "nothing else is a change of the budget"


@pytest.mark.parametrize("make", [DeviceTypeFactory, TenantFactory])
@pytest.mark.parametrize("budget", ["0", "-1", "x"])
def test_a_budget_is_one_reading_or_more(client, make, budget):
    row = make()
    client.force_login(StaffFactory())
    url = reverse(f"admin:devices_{row._meta.model_name}_change", args=[row.pk])
    answer = client.post(url, form(client, url) | {"telemetry_per_minute": budget, "why": "Contract"})
    assert "telemetry_per_minute" in answer.context["adminform"].form.errors


@pytest.mark.parametrize("role", ["Security officer", "Support", "Firmware author"])
def test_others_only_read_budgets(client, role):
    row = DeviceTypeFactory(telemetry_per_minute=600)
    client.force_login(world.staff(role))
    url = reverse("admin:devices_devicetype_change", args=[row.pk])
    assert client.post(url, {"telemetry_per_minute": 1}).status_code == 403
    row.refresh_from_db()
    assert row.telemetry_per_minute == 600
