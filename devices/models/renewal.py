"""The renewal of a certificate, from the day it is due until its successor was seen in use."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from devices.models.certificate import Certificate
from devices.models.device import Device
from devices.tenancy import ScopedQuerySet


class Renewal(models.Model):
    """One row a renewal. A device has at most one that is open: the database insists."""

    class Cause(models.TextChoices):
        WINDOW = "window", "Its time has come"
        STAFF = "staff", "Asked by staff"
        DEVICE = "device", "Begun by the device"

    class State(models.TextChoices):
        DUE = "due", "Due"
        ASKED = "asked", "Asked"
        ISSUED = "issued", "Issued"
        PROVEN = "proven", "Proven"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    OPEN = (State.DUE, State.ASKED, State.ISSUED)

    tenant_path = "device__tenant"
    device = models.ForeignKey(Device, models.PROTECT, related_name="renewals")
    certificate = models.ForeignKey(Certificate, models.PROTECT, related_name="renewals", help_text="To be replaced.")
    successor = models.OneToOneField(Certificate, models.PROTECT, null=True, blank=True, related_name="renewal")
    cause = models.CharField(max_length=10, choices=Cause, default=Cause.WINDOW)
    state = models.CharField(max_length=10, choices=State, default=State.DUE)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="How often the device was asked.")
    next_attempt_at = models.DateTimeField(help_text="Not asked (again) before.")
    asked_at = models.DateTimeField(null=True, help_text="Last asked.")
    issued_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, help_text="Proven, given up or pointless.")
    detail = models.CharField(max_length=200, blank=True, help_text="Why it failed, or what it waits for.")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True)
    created_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["Renewal"].as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["device"],
                condition=models.Q(state__in=["due", "asked", "issued"]),
                name="renewal_one_open_per_device",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at"],
                condition=models.Q(state__in=["due", "asked", "issued"]),
                name="renewal_next",
            ),
            models.Index(fields=["asked_at"], name="renewal_asked"),
            models.Index(fields=["state", "ended_at"], name="renewal_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.device_id}: {self.state}"
