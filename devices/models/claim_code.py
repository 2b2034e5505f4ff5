"""Claim codes: what is printed on a device that is sold, by which its owner makes it theirs."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from devices.models.claim import Claim
from devices.models.device import Device
from devices.models.fields import MAX_HARDWARE_ID
from devices.tenancy import ScopedQuerySet


class ClaimCode(models.Model):
    """A device that was made but not sold: who types its code gets it, once.

    The device itself joins by `claim`, as it was built to. Until somebody has redeemed its code it is asked to wait;
    then it joins its owner's tenant. So a device never moves from one tenant to another, with its past.
    """

    tenant_path = "device__tenant"
    claim = models.ForeignKey(Claim, models.PROTECT, related_name="codes", help_text="What the device itself joins by.")
    hardware_id = models.CharField(max_length=MAX_HARDWARE_ID, help_text="The maker's serial number.")
    code_hash = models.CharField(
        max_length=64, unique=True, editable=False, help_text="SHA-256, hex: the code has 80 random bits."
    )
    device = models.OneToOneField(
        Device, models.PROTECT, null=True, blank=True, related_name="claim_code", help_text="What it became."
    )
    redeemed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    redeemed_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["ClaimCode"].as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["claim", "hardware_id"], name="claimcode_once"),
            models.CheckConstraint(
                condition=models.Q(device__isnull=True, redeemed_at__isnull=True)
                | models.Q(device__isnull=False, redeemed_at__isnull=False, revoked_at__isnull=True),
                name="claimcode_redeemed_or_revoked",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.claim.device_type} {self.hardware_id}"
