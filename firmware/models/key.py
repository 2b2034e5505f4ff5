"""Keys whose signatures are believed, and tokens that let a build server in."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from devices.models import DeviceType
from devices.tenancy import COMPANY, ScopedQuerySet


class TrustedKey(models.Model):
    """A public key that signs firmware. Judged by its validity when a release is uploaded and a campaign approved.

    Its revocation counts at every later moment, too. Never changed but to revoke it.
    """

    class Algorithm(models.TextChoices):
        ECDSA_P256 = "ecdsa-p256", "ECDSA P-256"
        ED25519 = "ed25519", "Ed25519"

    tenant_path = COMPANY
    name = models.CharField(max_length=100, unique=True)
    algorithm = models.CharField(max_length=15, choices=Algorithm, editable=False)
    public_key = models.TextField(help_text="PEM, as openssl and `cosign generate-key-pair` write it.")
    fingerprint = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the key, DER.")
    device_types = models.ManyToManyField(
        DeviceType, blank=True, related_name="trusted_keys", help_text="May sign for these only; empty: for all."
    )
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, editable=False)
    revoked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, editable=False, related_name="+"
    )
    reason = models.CharField(max_length=200, blank=True, editable=False, help_text="Why it was revoked.")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["TrustedKey"].as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=models.Q(not_before__lt=models.F("not_after")), name="key_validity"),
            models.CheckConstraint(
                condition=models.Q(fingerprint__regex="^[0-9a-f]{64}$"), name="key_fingerprint_is_sha256"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def is_valid(self, now: datetime) -> bool:
        """May it vouch for something new at this moment?"""
        return self.revoked_at is None and self.not_before <= now < self.not_after


class UploadToken(models.Model):
    """Lets a build server upload releases of some device types, and do nothing else. Its text is shown once."""

    tenant_path = COMPANY
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=20, unique=True, editable=False, help_text="How the token begins.")
    token_hash = models.CharField(max_length=64, editable=False, help_text="SHA-256, hex.")
    device_types = models.ManyToManyField(DeviceType, related_name="upload_tokens", help_text="What it may upload for.")
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["UploadToken"].as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name
