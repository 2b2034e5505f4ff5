"""Enrolments that wait for a person: a claim that asks for it, or a known device that comes with a new key."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from devices.models.certificate import Certificate
from devices.models.claim import Claim
from devices.models.device import Device
from devices.models.fields import MAX_HARDWARE_ID
from devices.tenancy import ScopedQuerySet


class Approval(models.Model):
    """One device with one key, from its question to somebody's answer; kept as evidence."""

    class Cause(models.TextChoices):
        CLAIM = "claim", "The claim asks for approval"
        NEW_KEY = "new_key", "A known device with a new key"

    class State(models.TextChoices):
        PENDING = "pending", "Waits"
        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"

    tenant_path = "claim__tenant"
    claim = models.ForeignKey(Claim, models.PROTECT, related_name="approvals")
    cause = models.CharField(max_length=10, choices=Cause)
    hardware_id = models.CharField(max_length=MAX_HARDWARE_ID)
    device = models.ForeignKey(
        Device, models.PROTECT, null=True, related_name="approvals", help_text="The device it is known as already."
    )
    csr = models.TextField(help_text="PEM.")
    key_fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the public key, hex.")
    attested = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True)
    decided_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=200, blank=True)
    certificate = models.OneToOneField(Certificate, models.PROTECT, null=True, related_name="approval")
    asked_at = models.DateTimeField(db_default=Now(), help_text="First asked.")
    last_asked_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["Approval"].as_manager()

    class Meta:
        ordering = ["-asked_at"]
        indexes = [models.Index(fields=["state", "asked_at"], name="approval_waiting")]
        constraints = [
            models.UniqueConstraint(fields=["claim", "hardware_id", "key_fingerprint"], name="approval_asked_once"),
            models.CheckConstraint(
                condition=models.Q(state="pending", decided_at__isnull=True)
                | (~models.Q(state="pending") & models.Q(decided_at__isnull=False)),
                name="approval_decided_has_a_date",
            ),
        ]

    def __str__(self) -> str:
        return self.hardware_id
