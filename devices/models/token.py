"""Tokens of devices that cannot do TLS client certificates."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from devices.models.device import Device
from devices.tenancy import ScopedQuerySet


class DeviceToken(models.Model):
    """Lets one device post telemetry over HTTPS until it expires. Shown once, kept as a hash."""

    tenant_path = "device__tenant"
    device = models.ForeignKey(Device, models.PROTECT, related_name="tokens")
    prefix = models.CharField(max_length=12, unique=True, help_text="First characters of the token, to find it by.")
    token_hash = models.CharField(max_length=64, help_text="SHA-256, hex: the token itself has 256 random bits.")
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="Kept to the minute.")
    revoked_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    replaced_by = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="replaces")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["DeviceToken"].as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.prefix}…"

    def is_good(self, now: datetime) -> bool:
        """May it be used at this moment?"""
        return self.revoked_at is None and now < self.expires_at
