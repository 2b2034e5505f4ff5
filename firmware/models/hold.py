"""Holds: a version a device must not get again, and the penalty box for devices that fail again and again."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from devices.models import Device
from devices.tenancy import ScopedQuerySet
from firmware.models.update import Update


class Hold(models.Model):
    """Keeps a device from being offered one version, or anything at all, until an operator clears it."""

    class Kind(models.TextChoices):
        VERSION = "version", "Version blocked"
        PENALTY = "penalty", "Penalty box"

    tenant_path = "device__tenant"
    device = models.ForeignKey(Device, models.PROTECT, related_name="holds")
    kind = models.CharField(max_length=10, choices=Kind)
    version = models.CharField(max_length=64, blank=True, help_text="The blocked version; empty in the penalty box.")
    update = models.ForeignKey(Update, models.PROTECT, null=True, related_name="holds", help_text="What led to it.")
    reason = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())
    cleared_at = models.DateTimeField(null=True)
    cleared_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    cleared_reason = models.CharField(max_length=200, blank=True)
    objects = ScopedQuerySet["Hold"].as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["device", "kind", "version"],
                condition=models.Q(cleared_at__isnull=True),
                name="hold_open_once",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="version", version__gt="") | models.Q(kind="penalty", version=""),
                name="hold_kind",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.device}: {self.version or 'penalty box'}"
