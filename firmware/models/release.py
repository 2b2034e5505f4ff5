"""Releases: a version for device types, its one file, and who signed it."""

from django.conf import settings
from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Now

from devices.models import DeviceType, Tenant
from devices.tenancy import COMPANY, ScopedQuerySet
from firmware.querysets import ReleaseQuerySet

FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
"""A plain name: no path, nothing a shell or a manifest line could misread."""


class Release(models.Model):
    """A version of firmware for device types. Once in use it is never deleted, only archived."""

    class State(models.TextChoices):
        READY = "ready", "Ready"
        ARCHIVED = "archived", "Archived"

    tenant_path = COMPANY
    version = models.CharField(max_length=64, help_text="Semantic version, such as 1.4.2.")
    device_types = models.ManyToManyField(
        DeviceType, through="firmware.Compatibility", related_name="releases", help_text="Hardware it is made for."
    )
    min_version = models.CharField(
        max_length=64, blank=True, help_text="Oldest version it may be installed over; empty: any."
    )
    notes = models.TextField(blank=True)
    tenants = models.ManyToManyField(
        Tenant, blank=True, related_name="releases", help_text="Only for devices of these; empty: for all."
    )
    min_battery_percent = models.PositiveSmallIntegerField(default=0, validators=[MaxValueValidator(100)])
    needs_mains = models.BooleanField(default=False, help_text="Install on mains power only.")
    min_free_bytes = models.PositiveBigIntegerField(default=0, help_text="Free space beside the image (bytes).")
    sbom_name = models.CharField(max_length=100, blank=True, editable=False)
    sbom_sha256 = models.CharField(max_length=64, blank=True, editable=False, help_text="Its digest in the store.")
    state = models.CharField(max_length=10, choices=State, default=State.READY, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, editable=False, related_name="+"
    )
    uploaded_by = models.CharField(max_length=100, blank=True, editable=False, help_text="The token's name, if by CI.")
    created_at = models.DateTimeField(db_default=Now())
    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=["ready", "archived"]), name="release_state"),
            models.CheckConstraint(condition=models.Q(min_battery_percent__lte=100), name="release_battery"),
        ]

    def __str__(self) -> str:
        return self.version


class Compatibility(models.Model):
    """One device type a release is made for. A version exists once for a type, for ever."""

    tenant_path = COMPANY
    release = models.ForeignKey(Release, models.PROTECT, related_name="compatibilities")
    device_type = models.ForeignKey(DeviceType, models.PROTECT, related_name="compatibilities")
    version = models.CharField(max_length=64, help_text="The release's, so that the database can insist.")
    objects = ScopedQuerySet["Compatibility"].as_manager()

    class Meta:
        verbose_name_plural = "compatibilities"
        constraints = [
            models.UniqueConstraint(fields=["release", "device_type"], name="compatibility_once"),
            models.UniqueConstraint(fields=["device_type", "version"], name="version_of_a_type_once"),
        ]

    def __str__(self) -> str:
        return f"{self.version} for {self.device_type}"


class Artifact(models.Model):
    """The one file of a release, kept in the store under its SHA-256. Its row never changes."""

    tenant_path = COMPANY
    release = models.OneToOneField(Release, models.PROTECT, related_name="artifact")
    file_name = models.CharField(max_length=100, validators=[RegexValidator(rf"\A{FILE_NAME}\Z")])
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    sha256 = models.CharField(max_length=64, db_index=True)
    sha1 = models.CharField(max_length=40, help_text="For update clients that insist on it; never used to verify.")
    md5 = models.CharField(max_length=32, help_text="For update clients that insist on it; never used to verify.")
    created_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["Artifact"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(sha256__regex="^[0-9a-f]{64}$"), name="artifact_sha256"),
            models.CheckConstraint(condition=models.Q(file_name__regex=rf"^{FILE_NAME}$"), name="artifact_file_name"),
        ]

    def __str__(self) -> str:
        return self.file_name


class Signature(models.Model):
    """Somebody's word for an artifact, verified before it was stored. Never changed."""

    tenant_path = COMPANY
    artifact = models.ForeignKey(Artifact, models.PROTECT, related_name="signatures")
    key = models.ForeignKey("firmware.TrustedKey", models.PROTECT, related_name="signatures")
    signature = models.TextField(help_text="Base64; ECDSA in DER.")
    created_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["Signature"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["artifact", "key"], name="signature_once")]

    def __str__(self) -> str:
        return f"{self.artifact} by {self.key}"
