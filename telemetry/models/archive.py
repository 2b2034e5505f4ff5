"""How long readings stay, and what left the database."""

from datetime import datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from devices.models import DeviceType, Tenant
from devices.tenancy import COMPANY, ScopedQuerySet


class Retention(models.Model):
    """Readings of a tenant, of a type, or of both together, are deleted before HOT_DAYS and never archived.

    A promise that nothing older stays: where several rules meet, the shortest holds.
    """

    tenant_path = COMPANY
    tenant = models.ForeignKey(Tenant, models.PROTECT, null=True, blank=True, related_name="+")
    device_type = models.ForeignKey(DeviceType, models.PROTECT, null=True, blank=True, related_name="+")
    days = models.PositiveIntegerField(validators=[MinValueValidator(1)], help_text="Whole days (UTC) readings stay.")
    reason = models.CharField(max_length=500, help_text="Contract, law, ticket.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    swept_on = models.DateField(null=True, editable=False, help_text="The last day (UTC) whose sweep came to its end.")
    reached = models.DateField(
        null=True, editable=False, help_text="Days before it are clean; empty while nothing sweeps."
    )
    deleted = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="Readings deleted that no event tells of yet."
    )
    objects = ScopedQuerySet["Retention"].as_manager()

    class Meta:
        verbose_name = "retention rule"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "device_type"],
                nulls_distinct=False,
                name="retention_once",
                violation_error_message="There is a rule about these devices already: change that one.",
            ),
            models.CheckConstraint(
                condition=models.Q(tenant__isnull=False) | models.Q(device_type__isnull=False),
                name="retention_of_some",
                violation_error_message="Say whose: a tenant's, a device type's, or those of a tenant and type.",
            ),
            models.CheckConstraint(condition=models.Q(days__gte=1), name="retention_days"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant or 'any tenant'}, {self.device_type or 'any type'}: {self.days} days"

    def clean(self) -> None:
        """One that would come after the archive is refused."""
        if self.days and self.days > settings.HOT_DAYS:
            raise ValidationError(
                {"days": f"Readings leave the database after {settings.HOT_DAYS} days (HOT_DAYS) anyway."}
            )


class ArchivedDay(models.Model):
    """One Parquet file of a day's readings, written, read back, compared; only then is the day dropped.

    A day that got readings after it was archived has another part.
    """

    tenant_path = COMPANY
    day = models.DateField(help_text="UTC.")
    part = models.PositiveSmallIntegerField(default=1)
    path = models.CharField(max_length=200, help_text="In the storage `archive`; its manifest lies beside it.")
    rows = models.PositiveBigIntegerField()
    size = models.PositiveBigIntegerField(help_text="Bytes of the Parquet file.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the readings in canonical form, in key order.")
    file_digest = models.CharField(max_length=64, help_text="SHA-256 of the file.")
    first_ts = models.DateTimeField()
    last_ts = models.DateTimeField()
    tenants = ArrayField(models.BigIntegerField(), default=list, help_text="Rows of those who have readings in it.")
    device_types = ArrayField(models.BigIntegerField(), default=list, help_text="Rows of the types that have.")
    archived_at = models.DateTimeField()
    dropped_at = models.DateTimeField(
        null=True, help_text="When its readings left the database; empty while they are in it."
    )
    restored_at = models.DateTimeField(null=True)
    keep_until = models.DateTimeField(null=True, help_text="A restored day is not dropped again before.")
    objects = ScopedQuerySet["ArchivedDay"].as_manager()

    class Meta:
        ordering = ["-day", "part"]
        constraints = [models.UniqueConstraint(fields=["day", "part"], name="archived_part_once")]

    def __str__(self) -> str:
        return f"{self.day} part {self.part}"

    def state(self, now: datetime) -> str:
        """Where its readings are, in words."""
        if self.dropped_at:
            return "archived"
        if self.keep_until and self.keep_until > now:
            return f"restored until {self.keep_until:%Y-%m-%d}"
        return "still in the database"
