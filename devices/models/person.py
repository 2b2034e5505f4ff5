"""What people have here: invitations, tokens for their programs, saved views, preferences."""

from datetime import datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Lower, Now

from devices.models.tenant import Membership, Tenant, validate_timezone
from devices.tenancy import PERSONAL, ScopedQuerySet


class Invitation(models.Model):
    """A link that lets one person join a tenant in a role. Its secret is in the link and kept nowhere."""

    tenant_path = "tenant"
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="invitations")
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=10, choices=Membership.Role)
    token_hash = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256, hex.")
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)
    objects = ScopedQuerySet["Invitation"].as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                "tenant",
                Lower("email"),
                condition=models.Q(accepted_at__isnull=True, revoked_at__isnull=True),
                name="invitation_open_once",
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=["owner", "operator", "viewer"]), name="invitation_role"
            ),
            models.CheckConstraint(
                condition=models.Q(accepted_at__isnull=True) | models.Q(revoked_at__isnull=True),
                name="invitation_accepted_or_revoked",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} · {self.get_role_display()} of {self.tenant}"

    def is_open(self, now: datetime) -> bool:
        """Can it still be accepted?"""
        return self.accepted_at is None and self.revoked_at is None and now < self.expires_at


class ApiToken(models.Model):
    """Lets a program of a member call the API, in one tenant and with some scopes; never more than its member may.

    The token (`fpa_…`) is shown once; kept are its first characters and its SHA-256: it has 256 random bits.
    """

    tenant_path = "tenant"
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="api_tokens")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, help_text="What it is for.")
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    token_hash = models.CharField(max_length=64, editable=False)
    scopes = ArrayField(models.CharField(max_length=40), help_text="What it may do: docs/api.md has the list.")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    objects = ScopedQuerySet["ApiToken"].as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.CheckConstraint(condition=models.Q(scopes__len__gt=0), name="apitoken_has_a_scope"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def is_good(self, now: datetime) -> bool:
        """Neither revoked nor expired?"""
        return self.revoked_at is None and now < self.expires_at


class SavedView(models.Model):
    """A search of a list that somebody wants again: customers' and the staff's lists alike."""

    tenant_path = PERSONAL
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_views")
    page = models.CharField(max_length=200, help_text="Path of the list, e.g. /devices/.")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000, blank=True, help_text="What stands behind the question mark.")
    created_at = models.DateTimeField(db_default=Now())
    objects = ScopedQuerySet["SavedView"].as_manager()

    class Meta:
        ordering = ["page", "name"]
        constraints = [models.UniqueConstraint(fields=["user", "page", "name"], name="savedview_once")]

    def __str__(self) -> str:
        return self.name


class Preference(models.Model):
    """How somebody wants to see the portal. Who has no row has what is usual."""

    class Theme(models.TextChoices):
        SYSTEM = "system", "As my device"
        LIGHT = "light", "Light"
        DARK = "dark", "Dark"

    tenant_path = PERSONAL
    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="preference")
    timezone = models.CharField(
        max_length=64,
        blank=True,
        default="",
        validators=[validate_timezone],
        help_text="Times are shown in it; empty: in the zone of the browser.",
    )
    theme = models.CharField(max_length=10, choices=Theme, default=Theme.SYSTEM)
    objects = ScopedQuerySet["Preference"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(theme__in=["system", "light", "dark"]), name="preference_theme"),
        ]

    def __str__(self) -> str:
        return f"Preferences of {self.user}"
