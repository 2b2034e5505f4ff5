"""Believable rows."""

import factory
from django.contrib.auth.models import User
from factory.django import DjangoModelFactory

from devices.models import Authority, Device, DeviceType, Membership, Presence, Site, Tenant
from telemetry.models import Metric, Schema


class TenantFactory(DjangoModelFactory):
    class Meta:
        model = Tenant

    slug = factory.Sequence(lambda n: f"tenant-{n}")
    name = factory.Sequence(lambda n: f"Tenant {n}")


class SiteFactory(DjangoModelFactory):
    class Meta:
        model = Site

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Site {n}")


class DeviceTypeFactory(DjangoModelFactory):
    class Meta:
        model = DeviceType

    slug = factory.Sequence(lambda n: f"type-{n}")
    name = factory.Sequence(lambda n: f"Type {n}")


class DeviceFactory(DjangoModelFactory):
    class Meta:
        model = Device
        skip_postgeneration_save = True

    device_id = factory.Sequence(lambda n: f"d-test{n}")
    tenant = factory.SubFactory(TenantFactory)
    device_type = factory.SubFactory(DeviceTypeFactory)
    hardware_id = factory.Sequence(lambda n: f"hw-{n}")
    name = factory.Sequence(lambda n: f"Device {n}")
    state = Device.State.ACTIVE
    presence = factory.RelatedFactory("tests.factories.PresenceFactory", factory_related_name="device")


class PresenceFactory(DjangoModelFactory):
    class Meta:
        model = Presence

    device = factory.SubFactory(DeviceFactory, presence=None)


class SchemaFactory(DjangoModelFactory):
    """temperature_c (-60…80, required), humidity_pct (0…100), door_open, note (text)."""

    class Meta:
        model = Schema
        skip_postgeneration_save = True

    device_type = factory.SubFactory(DeviceTypeFactory)
    version = 1

    @factory.post_generation
    def metrics(self, create, extracted, **kwargs):
        rows = [
            ("temperature_c", "°C", Metric.Kind.NUMBER, -60, 80, True),
            ("humidity_pct", "%", Metric.Kind.NUMBER, 0, 100, False),
            ("door_open", "", Metric.Kind.BOOLEAN, None, None, False),
            ("note", "", Metric.Kind.TEXT, None, None, False),
        ]
        for position, (name, unit, kind, low, high, required) in enumerate(rows):
            Metric.objects.create(
                schema=self,
                position=position,
                name=name,
                label=name,
                unit=unit,
                kind=kind,
                minimum=low,
                maximum=high,
                required=required,
            )


class UserFactory(DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user-{n}")
    password = factory.django.Password("a long enough password")


class StaffFactory(UserFactory):
    is_staff = True
    is_superuser = True


def member(tenant, role=Membership.Role.OWNER, **kwargs):
    """A customer of a tenant."""
    user = UserFactory(**kwargs)
    Membership.objects.create(user=user, tenant=tenant, role=role)
    return user


def put_back(authorities):
    """The certificate authorities, where an emptied database lost them."""
    if not Authority.objects.exists():
        Authority.objects.bulk_create(authorities)
