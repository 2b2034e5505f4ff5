"""A device and a claim are at places, and in groups, of their own tenant: no door can say otherwise."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.urls import reverse

from devices.models import Group
from tests.factories import DeviceFactory, SiteFactory, StaffFactory, TenantFactory

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
