"""Readings, partitioned by day, and the newest one of each device."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from devices.models import Device
from devices.tenancy import ScopedQuerySet
from telemetry.models.schema import Schema


class Flag(models.IntegerChoices):
    """Bits of `Reading.flags`."""

    CLOCK_SUSPECT = 1, "The device's clock was wrong"


class Reading(models.Model):
    """One telemetry message. Its key is what a resend repeats exactly, so it is stored once however often it comes.

    The table is made by SQL in the migration: RANGE-partitioned by `ts`, without foreign keys (a hot path).
    """

    tenant_path = "device__tenant"
    pk = models.CompositePrimaryKey("device_id", "ts", "msg_id")
    device = models.ForeignKey(Device, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="readings")
    ts = models.DateTimeField()
    msg_id = models.UUIDField()
    received_at = models.DateTimeField()
    schema = models.ForeignKey(Schema, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    metrics = ArrayField(models.FloatField(null=True), help_text="Values in the order of the schema's positions.")
    extra = models.JSONField(null=True, help_text="Texts, and what an open schema does not name.")
    flags = models.SmallIntegerField(default=0)
    objects = ScopedQuerySet["Reading"].as_manager()

    class Meta:
        managed = False
        db_table = "telemetry_reading"

    def __str__(self) -> str:
        return f"{self.device_id} at {self.ts:%Y-%m-%d %H:%M:%S}"


class Latest(models.Model):
    """The newest reading of a device, for lists and tiles."""

    tenant_path = "device__tenant"
    device = models.OneToOneField(Device, models.PROTECT, primary_key=True, related_name="latest")
    ts = models.DateTimeField()
    received_at = models.DateTimeField()
    schema = models.ForeignKey(Schema, models.PROTECT, related_name="+")
    metrics = ArrayField(models.FloatField(null=True))
    extra = models.JSONField(null=True)
    objects = ScopedQuerySet["Latest"].as_manager()

    class Meta:
        verbose_name_plural = "latest"

    def __str__(self) -> str:
        return f"{self.device_id} at {self.ts:%Y-%m-%d %H:%M:%S}"
