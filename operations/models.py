"""What the audits must remember between two runs."""

from django.db import models

from devices.models import Certificate
from devices.tenancy import COMPANY, ScopedQuerySet


class ConnectionMinute(models.Model):
    """How many connections the broker let in and refused in a minute, as far as its log reached the portal."""

    tenant_path = COMPANY
    minute = models.DateTimeField(primary_key=True)
    accepted = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    objects = ScopedQuerySet["ConnectionMinute"].as_manager()

    class Meta:
        ordering = ["-minute"]

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M}"


class CheckedKey(models.Model):
    """The kind and size of a certificate's key: each certificate is parsed once, as it never changes."""

    tenant_path = "certificate__device__tenant"
    certificate = models.OneToOneField(Certificate, models.PROTECT, primary_key=True, related_name="checked_key")
    algorithm = models.CharField(max_length=50, help_text="P-256, P-384, Ed25519, RSA, or what else it is.")
    bits = models.PositiveIntegerField()
    objects = ScopedQuerySet["CheckedKey"].as_manager()

    class Meta:
        ordering = ["-certificate"]

    def __str__(self) -> str:
        return f"{self.algorithm}, {self.bits} bits"
