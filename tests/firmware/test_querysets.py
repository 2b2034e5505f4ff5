"""What customers see of campaigns and updates, and what finding it costs: their own devices' rows, not everybody's."""

import json

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection

from devices.models import Membership
from firmware.models import Campaign, Update
from tests.factories import StaffFactory, TenantFactory, UserFactory
from tests.firmware import fleet

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer():
    """With two devices, which are in the first of two campaigns over a large fleet of somebody else's."""
    user, tenant, other = UserFactory(), TenantFactory(), TenantFactory()
    Membership.objects.create(user=user, tenant=tenant, role="owner")
    release = fleet.release()
    many = fleet.devices(3000, release, tenant=other)
    user.devices = fleet.devices(2, release, tenant=tenant)
    fleet.enlist(fleet.campaign(release, [100], name="mine"), many + user.devices)
    fleet.enlist(fleet.campaign(release, [100], name="theirs"), many)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE devices_device, firmware_update, firmware_campaign")
    return user


def read(query):
    """Rows of the updates' table that a query reads, and its plan's words."""
    plan = json.loads(query.explain(format="json", analyze=True))[0]["Plan"]
    nodes = [plan]
    for node in nodes:
        nodes += node.get("Plans", [])
    mine = [node for node in nodes if node.get("Relation Name") == "firmware_update"]
    rows = sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in mine)
    return rows, {node["Node Type"] for node in nodes}


def test_a_customer_sees_the_campaigns_and_updates_of_its_devices(customer):
    assert [row.name for row in Campaign.objects.visible_to(customer)] == ["mine"]
    seen = Update.objects.visible_to(customer)
    assert set(seen.values_list("device", flat=True)) == {device.pk for device in customer.devices}


def test_staff_see_all_and_nobody_else_anything(customer):
    assert Campaign.objects.visible_to(StaffFactory()).count() == 2
    for user in (AnonymousUser(), UserFactory(), UserFactory(is_staff=True, is_active=False)):
        assert not Campaign.objects.visible_to(user).exists() and not Update.objects.visible_to(user).exists()
    customer.is_active = False
    assert not Campaign.objects.visible_to(customer).exists() and not Update.objects.visible_to(customer).exists()


def test_finding_them_reads_the_customers_rows_only(customer):
    for query in (Campaign.objects.visible_to(customer), Update.objects.visible_to(customer)):
        rows, _ = read(query.order_by("-id")[:50])
        assert rows <= 10


def test_a_page_of_a_campaigns_devices_is_read_from_an_index(customer):
    rows, nodes = read(Campaign.objects.get(name="mine").updates.order_by("place", "pk")[:50])
    assert rows <= 50 and not nodes & {"Sort", "Incremental Sort", "Seq Scan"}
