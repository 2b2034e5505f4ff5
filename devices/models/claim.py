"""Claims: bootstrap credentials with which a new device asks for its identity."""

from datetime import datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from devices.models.device import DeviceType
from devices.models.fields import MAX_HARDWARE_ID
from devices.models.tenant import Site, Tenant, check_site
from devices.tenancy import ScopedQuerySet


class Claim(models.Model):
    """Lets up to `max_devices` devices of one type join one tenant until it expires. Its secret is not kept.

    A token is kept as its hash; of a claim certificate the key was shown once and only the certificate is kept; a
    maker's claim admits devices that were born with a certificate of the maker's CA.
    """

    class Kind(models.TextChoices):
        TOKEN = "token", "Token"
        CERTIFICATE = "certificate", "Certificate"
        MAKER = "maker", "Maker's CA"

    tenant_path = "tenant"
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="claims")
    device_type = models.ForeignKey(DeviceType, models.PROTECT, related_name="claims")
    name = models.CharField(max_length=100)
    site = models.ForeignKey(Site, models.PROTECT, null=True, blank=True, help_text="Where its devices will be.")
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.TOKEN)
    prefix = models.CharField(
        max_length=12, unique=True, help_text="The claim's id; of a token also its first characters, to find it by."
    )
    token_hash = models.CharField(
        max_length=64, blank=True, help_text="SHA-256, hex: the token itself has 256 random bits."
    )
    certificate = models.TextField(blank=True, help_text="PEM of a claim certificate.")
    fingerprint = models.CharField(  # noqa: DJ001 (unique only where there is one)
        max_length=64, unique=True, null=True, editable=False, help_text="SHA-256 of the claim certificate's DER, hex."
    )
    maker = models.ForeignKey(
        "devices.Authority",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="claims",
        limit_choices_to={"kind": "maker"},
        help_text="Whose devices it admits, where they are born with a certificate.",
    )
    hardware_ids = ArrayField(
        models.CharField(max_length=MAX_HARDWARE_ID),
        blank=True,
        default=list,
        help_text="Only these serials; empty: any.",
    )
    max_devices = models.PositiveIntegerField(default=1)
    approve_by_hand = models.BooleanField(default=False, help_text="Each device waits until somebody approves it.")
    uses = models.PositiveIntegerField(default=0, editable=False)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["Claim"].as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=models.Q(uses__lte=models.F("max_devices")), name="claim_within_limit"),
            models.CheckConstraint(
                condition=models.Q(kind="token", fingerprint__isnull=True, maker__isnull=True)
                & ~models.Q(token_hash="")
                | models.Q(kind="certificate", token_hash="", fingerprint__isnull=False, maker__isnull=True)
                | models.Q(kind="maker", token_hash="", fingerprint__isnull=True, maker__isnull=False),
                name="claim_has_its_credential",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def clean(self) -> None:
        """Its devices will be at a place of its tenant (the database insists, too)."""
        check_site(self.site, self.tenant_id)

    def refusal(self, hardware_id: str, device_type: str, now: datetime) -> tuple[str, str] | None:
        """Why this claim does not admit that device now, as (error code, text); None when it does.

        The device limit is not judged here: it is a conditional update, as two devices may come at once.
        """
        if self.revoked_at is not None:
            return "claim_revoked", "This claim was revoked."
        if now >= self.expires_at:
            return "claim_expired", f"This claim expired on {self.expires_at:%Y-%m-%d %H:%M} UTC."
        if device_type != self.device_type.slug:
            return "claim_other_type", f"This claim is for devices of type {self.device_type.slug!r}."
        if self.hardware_ids and hardware_id not in self.hardware_ids:
            return "claim_other_hardware", f"Hardware id {hardware_id!r} is not on this claim's list."
        return None
