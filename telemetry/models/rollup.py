"""Figures of each minute and each hour, and the set of those that must be computed anew."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from devices.models import Device
from devices.tenancy import COMPANY, ScopedQuerySet
from telemetry.models.schema import Schema


class Rollup(models.Model):
    """Count, least, greatest, sum and last of each metric of a device in one stretch of time.

    Equal to the aggregate of its readings, whatever the order they came in, and kept when these are gone. Arrays are in
    the order of the schema. Tables are made by SQL: partitioned by `start`, without foreign keys.
    """

    pk = models.CompositePrimaryKey("device_id", "start", "schema_id")
    device = models.ForeignKey(Device, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    start = models.DateTimeField(help_text="UTC, the first moment of it.")
    schema = models.ForeignKey(Schema, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    readings = models.IntegerField(help_text="Readings in it.")
    counts = ArrayField(models.IntegerField(), help_text="Of each metric: values that are not missing.")
    lows = ArrayField(models.FloatField(null=True))
    highs = ArrayField(models.FloatField(null=True))
    sums = ArrayField(models.FloatField(null=True), help_text="Added up in the order of time, each held within ±1e298.")
    lasts = ArrayField(models.FloatField(null=True), help_text="The newest value that is not missing.")

    class Meta:
        abstract = True
        managed = False

    def __str__(self) -> str:
        return f"{self.device_id} from {self.start:%Y-%m-%d %H:%M}"


class Minute(Rollup):
    """Figures of a minute. Partitioned by day, kept MINUTE_DAYS."""

    tenant_path = "device__tenant"
    objects = ScopedQuerySet["Minute"].as_manager()

    class Meta(Rollup.Meta):
        db_table = "telemetry_minute"


class Hour(Rollup):
    """Figures of an hour. Partitioned by month, kept HOUR_DAYS."""

    tenant_path = "device__tenant"
    objects = ScopedQuerySet["Hour"].as_manager()

    class Meta(Rollup.Meta):
        db_table = "telemetry_hour"


class Touched(models.Model):
    """Which buckets a batch of readings touched, written in the batch's own transaction.

    Rows are only added and deleted, never changed: what a rollup saw and computed is deleted with it, in one
    transaction; a batch that commits meanwhile leaves a row of its own for the next. So nobody waits for a lock and
    no touch is lost. Minutes under way, and what is too much for one transaction, are put back as a row of their own.
    """

    class Grain(models.TextChoices):
        MINUTE = "minute", "Minute"
        HOUR = "hour", "Hour"

    tenant_path = COMPANY
    grain = models.CharField(max_length=6, choices=Grain)
    devices = ArrayField(models.IntegerField(), help_text="Device rows, one for each of `buckets`.")
    buckets = ArrayField(models.IntegerField(), help_text="Minutes or hours since 1970-01-01 UTC.")
    created_at = models.DateTimeField(auto_now_add=True)
    objects = ScopedQuerySet["Touched"].as_manager()

    class Meta:
        verbose_name_plural = "touched"

    def __str__(self) -> str:
        return f"{len(self.buckets)} of grain {self.grain}"
