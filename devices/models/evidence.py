"""Evidence: events (append-only, by a database trigger) and findings."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from devices.models.device import Device
from devices.models.tenant import Tenant
from devices.tenancy import ScopedQuerySet

DECISIONS = [
    "certificate.revoked",
    "device.decommissioned",
    "device.quarantined",
    "device.released",
    "device.replaced",
]
"""Kinds of events after which the broker must be told: new files, and an end to the live session (cutoffs.py)."""
CUT_OFF = "device.cut_off"
"""Kind of the event which says that this is done."""


class Event(models.Model):
    """Something that happened: a line of the audit trail and of a device's time line. Never changed or deleted."""

    tenant_path = "tenant"
    at = models.DateTimeField(help_text="When it happened, by the clock of whoever says so.")
    recorded_at = models.DateTimeField(db_default=Now())
    kind = models.CharField(max_length=120)
    tenant = models.ForeignKey(Tenant, models.PROTECT, null=True, related_name="events")
    device = models.ForeignKey(Device, models.PROTECT, null=True, related_name="events")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True)
    actor = models.CharField(max_length=100, help_text="Who did it: a person, the device, or a part of the portal.")
    reason = models.CharField(max_length=500, blank=True)
    detail = models.JSONField(default=dict)
    msg_id = models.UUIDField(null=True, help_text="The device's own id of the message, so that a resend adds nothing.")
    correlation_id = models.CharField(max_length=100, blank=True)
    objects = ScopedQuerySet["Event"].as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["device", "msg_id"], name="event_once")]
        indexes = [
            models.Index(fields=["device", "-id"], name="event_of_device"),
            models.Index(fields=["at"], condition=models.Q(kind__in=[*DECISIONS, CUT_OFF]), name="event_decision"),
        ]

    def __str__(self) -> str:
        return self.kind


class Finding(models.Model):
    """Something an operator should look at. The same thing seen again counts up instead of filling the page."""

    class Severity(models.TextChoices):
        INFO = "info", "Info"
        WARNING = "warning", "Warning"
        CRITICAL = "critical", "Critical"

    tenant_path = "device__tenant"
    kind = models.CharField(max_length=50)
    severity = models.CharField(max_length=10, choices=Severity, default=Severity.WARNING)
    device = models.ForeignKey(Device, models.PROTECT, null=True, related_name="findings")
    subject = models.CharField(max_length=200, blank=True, help_text="What it is about, where that is not a device.")
    detail = models.CharField(max_length=500)
    count = models.PositiveBigIntegerField(default=1)
    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    resolved_at = models.DateTimeField(null=True, blank=True)
    objects = ScopedQuerySet["Finding"].as_manager()

    class Meta:
        ordering = ["-last_seen_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "device", "subject"],
                condition=models.Q(resolved_at__isnull=True),
                nulls_distinct=False,
                name="finding_open_once",
            )
        ]

    def __str__(self) -> str:
        return self.kind


class Suppression(models.Model):
    """Keeps a kind of finding quiet until a day, because somebody said why; it always ends by itself."""

    tenant_path = "device__tenant"
    kind = models.CharField(max_length=50, help_text="Kind of the finding.")
    device = models.ForeignKey(
        Device, models.PROTECT, null=True, blank=True, related_name="suppressions", help_text="Empty: every device."
    )
    subject = models.CharField(max_length=200, blank=True, help_text="What it is about, where that is not a device.")
    reason = models.CharField(max_length=200)
    expires_at = models.DateTimeField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["Suppression"].as_manager()

    class Meta:
        ordering = ["-expires_at"]
        indexes = [models.Index(fields=["kind", "device"], name="suppression_of_kind")]

    def __str__(self) -> str:
        return f"{self.kind} until {self.expires_at:%Y-%m-%d}"
