"""Device certificates: rows are evidence, never overwritten and never deleted; a renewal is a new row."""

from datetime import datetime

from django.db import models
from django.db.models.functions import Now

from devices.models.authority import Authority
from devices.models.device import Device
from devices.querysets import CertificateQuerySet


class Certificate(models.Model):
    """One certificate of one device, from its request to its retirement."""

    class State(models.TextChoices):
        PENDING = "pending", "Pending"
        ACTIVE = "active", "Active"
        RETIRING = "retiring", "Retiring"
        RETIRED = "retired", "Retired"
        REVOKED = "revoked", "Revoked"
        EXPIRED = "expired", "Expired"

    tenant_path = "device__tenant"
    device = models.ForeignKey(Device, models.PROTECT, related_name="certificates")
    authority = models.ForeignKey(Authority, models.PROTECT, related_name="certificates")
    serial = models.CharField(max_length=40, unique=True, help_text="Lower-case hex.")
    fingerprint = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the DER, hex.")
    key_fingerprint = models.CharField(max_length=64, db_index=True, help_text="SHA-256 of the public key, hex.")
    subject = models.CharField(max_length=200)
    pem = models.TextField()
    not_before = models.DateTimeField()
    not_after = models.DateTimeField(db_index=True)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    renew_at = models.DateTimeField(help_text="From this moment on the device is asked for a new one.")
    replaced_by = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="replaces")
    retire_at = models.DateTimeField(
        null=True, blank=True, help_text="While retiring: when it is taken out of use, should it not be used again."
    )
    first_seen_at = models.DateTimeField(null=True, blank=True, help_text="First proof that the device uses it.")
    last_seen_at = models.DateTimeField(null=True, blank=True, help_text="Newest proof that the device uses it.")
    revoked_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    objects = CertificateQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state="revoked", revoked_at__isnull=False) | ~models.Q(state="revoked"),
                name="certificate_revoked_has_a_date",
            ),
            models.CheckConstraint(
                condition=models.Q(state="retired", revoked_at__isnull=False) | ~models.Q(state="retired"),
                name="certificate_retired_has_a_date",
            ),
        ]
        indexes = [
            models.Index(fields=["renew_at"], condition=models.Q(state="active"), name="certificate_to_renew"),
            models.Index(fields=["device"], condition=models.Q(state="retiring"), name="certificate_retiring"),
        ]

    def __str__(self) -> str:
        return self.serial

    def is_trusted(self, now: datetime) -> bool:
        """May a door let it in at this moment?"""
        return self.state in {"pending", "active", "retiring"} and self.not_before <= now < self.not_after
