"""What the devices of a type may say: versioned schemas of metrics."""

from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now

from devices.models import DeviceType
from devices.tenancy import ScopedQuerySet
from telemetry.schema.compatibility import MAX_METRICS


class Schema(models.Model):
    """One version of a device type's vocabulary.

    It takes only compatible changes, so that stored arrays keep their meaning (compatibility.py); for any other a new
    version is cut. The database holds to that, too (migration 0005).
    """

    tenant_path = "device_type__devices__tenant"
    id = models.SmallAutoField(primary_key=True)  # stands in every reading
    device_type = models.ForeignKey(DeviceType, models.PROTECT, related_name="schemas")
    version = models.PositiveSmallIntegerField()
    open = models.BooleanField(default=False, help_text="Keep values the schema does not name; otherwise refuse them.")
    revision = models.PositiveIntegerField(default=1, help_text="Counts compatible changes; workers compile it anew.")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True, db_default=Now())
    objects = ScopedQuerySet["Schema"].as_manager()

    class Meta:
        ordering = ["device_type", "version"]
        constraints = [
            models.UniqueConstraint(fields=["device_type", "version"], name="schema_once"),
            models.CheckConstraint(condition=models.Q(version__gte=1), name="schema_version_from_one"),
        ]

    def __str__(self) -> str:
        return f"{self.device_type} v{self.version}"


class Metric(models.Model):
    """One value of a schema. Numbers and booleans are stored by position, texts by name."""

    class Kind(models.TextChoices):
        NUMBER = "number", "Number"
        INTEGER = "integer", "Whole number"
        BOOLEAN = "boolean", "Yes / no"
        TEXT = "text", "Text"

    tenant_path = "schema__device_type__devices__tenant"
    schema = models.ForeignKey(Schema, models.PROTECT, related_name="metrics")
    position = models.PositiveSmallIntegerField(help_text="Place in the stored array; never changes.")
    name = models.CharField(
        max_length=63, validators=[RegexValidator(r"\A[a-z][a-z0-9_]*\Z", "Lower-case letters, digits and _.")]
    )
    label = models.CharField(max_length=100)
    unit = models.CharField(max_length=20, blank=True)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.NUMBER)
    minimum = models.FloatField(null=True, blank=True)
    maximum = models.FloatField(null=True, blank=True)
    required = models.BooleanField(default=True)
    objects = ScopedQuerySet["Metric"].as_manager()

    class Meta:
        ordering = ["schema", "position"]
        constraints = [
            models.UniqueConstraint(fields=["schema", "position"], name="metric_position_once"),
            models.UniqueConstraint(fields=["schema", "name"], name="metric_name_once"),
            models.CheckConstraint(condition=models.Q(name__regex=r"^[a-z][a-z0-9_]*$"), name="metric_name_plain"),
            models.CheckConstraint(condition=models.Q(position__lt=MAX_METRICS), name="metric_room"),
            models.CheckConstraint(
                condition=models.Q(minimum__isnull=True)
                | models.Q(maximum__isnull=True)
                | models.Q(minimum__lte=models.F("maximum")),
                name="metric_range",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label
