"""Messages that were refused, with the reason."""

from django.db import models

from devices.models import Device
from devices.tenancy import ScopedQuerySet


class DeadLetter(models.Model):
    """A refused message. The same bytes refused again for the same reason count up.

    How many a device can add is bounded, and they are purged with age (deadletters.py).
    """

    tenant_path = "device__tenant"
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of topic, payload and reason.")
    topic = models.CharField(max_length=500)
    payload = models.BinaryField(help_text="As received; cut where it was larger than a message may be.")
    size = models.PositiveIntegerField(help_text="Bytes received.")
    reason = models.CharField(max_length=50, db_index=True)
    detail = models.CharField(max_length=500)
    path = models.CharField(max_length=200, default="$", help_text="JSONPath to the mistake.")
    device = models.ForeignKey(Device, models.PROTECT, null=True, related_name="dead_letters")
    count = models.PositiveBigIntegerField(default=1)
    first_received_at = models.DateTimeField()
    received_at = models.DateTimeField(db_index=True)
    replayed_at = models.DateTimeField(null=True, help_text="When it was last tried again, and refused again.")
    objects = ScopedQuerySet["DeadLetter"].as_manager()

    class Meta:
        ordering = ["-received_at"]
        indexes = [
            models.Index(fields=["device", "-received_at"], name="deadletter_of_device"),
            # What the page of groups counts, without a look at the payloads.
            models.Index(
                fields=["reason", "device"],
                include=["id", "count", "first_received_at", "received_at"],
                name="deadletter_groups",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.reason}: {self.topic}"
