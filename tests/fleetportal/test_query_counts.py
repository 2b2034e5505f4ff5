"""Every page asks the database a number of questions that does not grow with its rows, and that is written down."""

import json
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib import admin
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from devices.tenancy import ROOMS
from tests.factories import StaffFactory, TenantFactory, member
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
BASELINE = Path(__file__).parent.parent / "query_counts.json"
LISTS = {
    model._meta.label_lower: reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    for model in admin.site._registry
    if model._meta.app_label in ROOMS
}


def pages(device):
    """Name → (is it a page of the staff?, address)."""
    yield from ((f"admin {name}", True, address) for name, address in LISTS.items())
    yield "admin index", True, reverse("admin:index")
    yield "admin device page", True, reverse("admin:devices_device_change", args=[device.pk])
    yield "admin dry run", True, reverse("admin:devices_renewal_dry_run") + "?within=30d"
    for name in ("certificate", "claim", "approval", "renewal"):
        row = apps.get_model("devices", name).objects.order_by("pk")[0]
        yield f"admin {name} page", True, reverse(f"admin:devices_{name}_change", args=[row.pk])
    for name in ("release", "trustedkey", "uploadtoken", "hold", "stop", "update", "campaign"):
        row = apps.get_model("firmware", name).objects.order_by("pk")[0]
        yield f"admin {name} page", True, reverse(f"admin:firmware_{name}_change", args=[row.pk])
    row = apps.get_model("telemetry", "schema").objects.order_by("pk")[0]
    yield "admin schema page", True, reverse("admin:telemetry_schema_change", args=[row.pk])
    for name in ("deadletter", "replay", "export"):
        row = apps.get_model("telemetry", name).objects.order_by("pk")[0]
        yield f"admin {name} page", True, reverse(f"admin:telemetry_{name}_change", args=[row.pk])
    yield "admin dead letters one by one", True, reverse("admin:telemetry_deadletter_letters")
    yield "exports", False, reverse("exports")
    yield "tokens", False, reverse("tokens")
    yield "admin stop all", True, reverse("admin:firmware_stop_all")
    yield "overview", False, reverse("overview")
    yield "device list", False, reverse("device-list")
    yield "device page", False, reverse("device", args=[device.device_id])
    yield "device events", False, reverse("device-events", args=[device.device_id])
    yield "device edit", False, reverse("device-edit", args=[device.device_id])
    yield "add a device", False, reverse("device-add")
    yield "series", False, reverse("series", args=[device.device_id])
    for name in ("me", "devices", "device-types", "sites", "groups", "tenants"):
        yield f"api {name}", False, reverse(f"api-{name}")
    for name in ("device", "latest", "readings", "device-events", "device-certificates", "device-updates"):
        yield f"api {name}", False, reverse(f"api-{name}", args=[device.device_id])
    for name in ("members", "invitations"):
        yield f"api {name}", False, reverse(f"api-{name}", args=[device.tenant.slug])
    for name in ("campaigns", "export-list"):
        yield f"api {name}", False, reverse(name)
    yield "api releases", True, reverse("releases")


def count(client, staff, customer, device):
    counts = {}
    for name, is_staffs, address in pages(device):
        client.force_login(staff if is_staffs else customer)
        client.get(address)  # what is asked once in a process is asked now
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200
        counts[name] = len(queries)
    return counts


def test_pages_cost_the_same_with_one_row_and_three_and_what_is_written_down(client, ca):
    """After a change that is meant: put the new figures into tests/query_counts.json, and say why in the commit."""
    tenant = TenantFactory()
    staff, customer = StaffFactory(), member(tenant)
    device = world.add(tenant)
    one = count(client, staff, customer, device)
    world.add(tenant, 1)
    world.add(tenant, 2)
    world.add(TenantFactory(), 3)
    three = count(client, staff, customer, device)
    assert three == one
    assert one == json.loads(BASELINE.read_text())
