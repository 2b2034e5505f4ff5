from datetime import timedelta

import pytest
from django.urls import reverse

from telemetry.models import ArchivedDay
from tests.factories import DeviceTypeFactory, StaffFactory, TenantFactory, member
from tests.telemetry.days import NOW, OLD

LIST = reverse("admin:telemetry_archivedday_changelist")


def part(day=OLD, **changes):
    told = {"rows": 1_234_567, "size": 12_345_670, "digest": "d" * 64, "file_digest": "f" * 64}
    moments = {"first_ts": NOW, "last_ts": NOW, "archived_at": NOW, "dropped_at": NOW}
    return ArchivedDay.objects.create(day=day, path=f"readings/{day}.1.parquet", **told | moments | changes)


@pytest.fixture
def staff(client, db):
    user = StaffFactory()
    client.force_login(user)
    return user


def test_the_list_tells_sizes_and_where_the_readings_are(client, db, time_machine):
    time_machine.move_to(NOW)
    client.force_login(StaffFactory())
    part()
    part(OLD - timedelta(days=1), dropped_at=None, keep_until=NOW + timedelta(days=3))
    part(OLD - timedelta(days=2), dropped_at=None)
    page = client.get(LIST).content.decode()
    readings = "1 234 567".replace(" ", "\N{NARROW NO-BREAK SPACE}")
    states = ("Archived", "Restored until 2015-06-18", "Still in the database")
    for told in (readings, "11.8\xa0MB", "10.0", *states):
        assert told in page


def test_it_is_narrowed_to_whose_readings_are_in_it(client, staff):
    tenant, kind = TenantFactory(name="Acme"), DeviceTypeFactory(name="Logger")
    part(tenants=[tenant.pk], device_types=[kind.pk])
    part(OLD - timedelta(days=1), tenants=[tenant.pk + 1])
    for query, count in (("", 2), (f"?tenants={tenant.pk}", 1), (f"?device_types={kind.pk}", 1), ("?tenants=x", 2)):
        assert client.get(LIST + query).context["cl"].result_count == count


def test_a_part_has_a_page_that_names_its_owners_and_the_commands(client, staff):
    row = part(tenants=[TenantFactory(name="Acme <i>").pk])
    page = client.get(reverse("admin:telemetry_archivedday_change", args=[row.pk])).content.decode()
    assert "Acme &lt;i&gt;" in page
    assert f"archive restore --day {OLD}" in page
    assert row.path in page


def test_nobody_changes_or_deletes_one(client, staff):
    row = part()
    address = reverse("admin:telemetry_archivedday_change", args=[row.pk])
    assert client.post(address, {"rows": 1}).status_code == 403
    assert client.post(reverse("admin:telemetry_archivedday_delete", args=[row.pk])).status_code == 403
    assert client.get(reverse("admin:telemetry_archivedday_add")).status_code == 403


def test_customers_see_nothing_of_it(client, db):
    client.force_login(member(TenantFactory()))
    assert client.get(LIST).status_code in (302, 403, 404)
    assert not ArchivedDay.objects.visible_to(member(TenantFactory())).exists()
