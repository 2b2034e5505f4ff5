"""The list of devices over the API: mine, narrowed down, in order, and what that asks of the database."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.models import Device, Group, Presence, Tenant
from tests.devices.api.programs import caller
from tests.factories import DeviceFactory, DeviceTypeFactory, SiteFactory, StaffFactory, TenantFactory, member
from tests.firmware import fleet
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
LIST = "/api/v1/devices"


@pytest.fixture
def two(client):
    """A tenant with two devices that differ in everything, seen by a viewer."""
    tenant = TenantFactory(slug="acme")
    first = DeviceFactory(tenant=tenant, name="Cold room", site=SiteFactory(tenant=tenant), tags=["cold"])
    second = DeviceFactory(tenant=tenant, name="Attic", hardware_id="SN-77", state="quarantined")
    first.groups.add(Group.objects.create(tenant=tenant, name="Kitchen"), Group.objects.create(tenant=tenant, name="B"))
    Presence.objects.filter(device=first).update(online=True, firmware_version="1.4.2")
    client.force_login(member(tenant, "viewer"))
    DeviceFactory(name="Foreign")
    return first, second


def found(client, **asked):
    answer = client.get(LIST, asked)
    assert answer.status_code == 200, answer.json()
    return [each["name"] for each in answer.json()["results"]]


def test_is_mine_by_name(client, two):
    assert found(client) == ["Attic", "Cold room"]
    assert found(client, ordering="-name") == ["Cold room", "Attic"]
    assert found(client, ordering="device_id") == ["Cold room", "Attic"]


@pytest.mark.parametrize("wanted", ["first", "second"])
def test_is_narrowed_down_by_all_that_is_asked(client, two, wanted):
    first, second = two
    group = first.groups.get(name="Kitchen")
    asked = {
        "first": [
            {"q": "cold"}, {"q": first.device_id}, {"state": "active"}, {"online": "true"}, {"site": first.site_id},
            {"group": group.pk}, {"tag": "cold"}, {"firmware": "1.4.2"}, {"type": first.device_type.slug},
            {"online": "true", "tag": "cold", "q": "room"},
        ],
        "second": [{"q": "sn-77"}, {"state": "quarantined"}, {"online": "false"}, {"type": second.device_type.slug}],
    }[wanted]  # fmt: skip
    for each in asked:
        assert found(client, **each) == [first.name if wanted == "first" else second.name], each
    assert found(client, online="true", state="quarantined") == []
    assert found(client, tenant="acme") == ["Attic", "Cold room"]
    assert found(client, tenant="other") == []


def test_knows_what_is_being_updated(client, two):
    first, _ = two
    campaign = fleet.campaign(fleet.release("2.0.0", first.device_type))
    assert found(client, updating="true") == []
    fleet.offered(campaign, [first], "downloading", waiting="")
    assert found(client, updating="true") == ["Cold room"]
    assert found(client, updating="false") == ["Attic"]


def test_documents_are_those_of_single_devices(client, two):
    for each in client.get(LIST).json()["results"]:
        assert client.get(each["url"]).json() == each


def test_a_token_sees_its_tenant_only(two):
    first, _ = two
    user = first.tenant.memberships.get().user
    other = DeviceFactory(name="Elsewhere")
    user.memberships.create(tenant=other.tenant, role="owner")
    told = caller(user, first.tenant, "devices:read").get(LIST).json()["results"]
    assert {each["tenant"] for each in told} == {"acme"}


def test_updates_of_a_device_are_told_to_its_owner(client, two):
    first, _ = two
    campaign = fleet.campaign(fleet.release("2.0.0", first.device_type))
    fleet.offered(campaign, [first], "downloading", waiting="", progress=40)
    (told,) = client.get(f"{LIST}/{first.device_id}/updates").json()["results"]
    assert (told["version"], told["state"], told["text"]) == ("2.0.0", "downloading", "downloading 40 %")
    assert "stage" not in told


def test_costs_the_same_with_one_row_and_three(client, ca):
    tenant = TenantFactory()
    client.force_login(member(tenant))
    world.add(tenant)
    paths = [LIST, "/api/v1/sites", "/api/v1/groups", "/api/v1/device-types", "/api/v1/tenants", "/api/v1/me"]
    paths += [f"/api/v1/tenants/{tenant.slug}/{name}" for name in ("members", "invitations")]

    def counts():
        told = []
        for path in paths:
            with CaptureQueriesContext(connection) as queries:
                assert client.get(path).status_code == 200
            told.append(len(queries))
        return told

    counts()
    one = counts()
    for number in (1, 2):
        world.add(tenant, number)
    assert counts() == one


class TestAtScale:
    """5,000 devices of somebody else, with names before mine: none of them is read."""

    @pytest.fixture
    def crowd(self, client, two):
        big = TenantFactory(slug="big")
        kind = DeviceTypeFactory()
        Device.objects.bulk_create(
            Device(device_id=f"a-{n:05}", hardware_id=f"a-{n}", name=f"A {n:05}", tenant=big, device_type=kind)
            for n in range(5000)
        )
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE devices_device")
        return big

    def read(self, client, **asked):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(LIST, asked).status_code == 200
        (sql,) = [each["sql"] for each in queries if 'FROM "devices_device"' in each["sql"] and "LIMIT" in each["sql"]]
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + sql)
            return _rows(cursor.fetchone()[0][0]["Plan"])

    def test_a_small_tenants_list_reads_its_own(self, client, crowd):
        assert self.read(client) < 100
        assert self.read(client, tag="cold") < 100
        assert self.read(client, ordering="device_id") < 6000

    def test_a_big_list_reads_a_page(self, client, crowd):
        client.force_login(StaffFactory())
        assert self.read(client) < 300
        assert self.read(client, tenant="big") < 300
        assert Tenant.objects.count() == 3


def _rows(plan):
    """Rows of the devices' table that the plan read."""
    if plan.get("Relation Name") != "devices_device":
        return sum(_rows(each) for each in plan.get("Plans", ()))
    read = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    return read * plan["Actual Loops"]
