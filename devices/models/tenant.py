"""Tenants (customer organisations), their people, places and quiet times."""

from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models

from devices.models.fields import is_part, validate_part
from devices.tenancy import ScopedQuerySet


class Tenant(models.Model):
    """A customer organisation. Its slug is the first part of its devices' topics."""

    tenant_path = "pk"
    slug = models.CharField(max_length=63, unique=True, validators=[validate_part])
    name = models.CharField(max_length=200)
    telemetry_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Readings all its devices together may send per minute, in the long run; empty: what the portal's"
        " settings say.",
    )
    mfa_required = models.BooleanField(
        "two-factor authentication required",
        default=False,
        db_default=False,
        help_text="Its members see nothing of the portal before they have set up a second factor.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    objects = ScopedQuerySet["Tenant"].as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=is_part("slug"), name="tenant_slug_is_topic_part")]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person's role in a tenant: the only thing that lets a customer see anything."""

    class Role(models.TextChoices):
        OWNER = "owner", "Owner"
        OPERATOR = "operator", "Operator"
        VIEWER = "viewer", "Viewer"

    tenant_path = "tenant"
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)
    objects = ScopedQuerySet["Membership"].as_manager()

    class Meta:
        ordering = ["tenant", "user"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="membership_once"),
            models.CheckConstraint(
                condition=models.Q(role__in=["owner", "operator", "viewer"]), name="membership_role"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.get_role_display()} of {self.tenant}"


def validate_timezone(name: str) -> None:
    """Refuse what the IANA time zone database does not know."""
    if name not in available_timezones():
        raise ValidationError(f"{name!r} is not an IANA time zone, such as Europe/Berlin.")


class Site(models.Model):
    """A place where devices are, with the region and time zone its people live in."""

    tenant_path = "tenant"
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="sites")
    name = models.CharField(max_length=200)
    region = models.CharField(max_length=100, blank=True)
    timezone = models.CharField(max_length=64, default="UTC", validators=[validate_timezone])
    objects = ScopedQuerySet["Site"].as_manager()

    class Meta:
        ordering = ["tenant", "name"]
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="site_once")]

    def __str__(self) -> str:
        return self.name


def check_site(site: Site | None, tenant_id: int | None) -> None:
    """Refuse a site of another tenant."""
    if site is not None and site.tenant_id != tenant_id:
        raise ValidationError({"site": f"{site} belongs to another tenant."})


class MaintenanceWindow(models.Model):
    """A weekly time of a group, in its own time zone: a freeze, in which nothing is changed, or a slot for changes.

    Inside a freeze there are no offers and no rotation. Devices with slots get firmware offers inside one only.
    """

    class Kind(models.TextChoices):
        FREEZE = "freeze", "Freeze: change nothing"
        SLOT = "slot", "Slot: firmware only now"

    tenant_path = "group__tenant"
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.FREEZE)
    group = models.ForeignKey("devices.Group", models.PROTECT, related_name="windows")
    weekdays = models.CharField(
        max_length=7,
        validators=[RegexValidator(r"\A[1-7]{1,7}\Z", "Only the digits 1 to 7: 12345 is Monday to Friday.")],
        help_text="ISO days, Monday = 1: 12345 is Monday to Friday.",
    )
    starts = models.TimeField()
    minutes = models.PositiveSmallIntegerField(help_text="Length in minutes, at most a day.")
    timezone = models.CharField(max_length=64, default="UTC", validators=[validate_timezone])
    objects = ScopedQuerySet["MaintenanceWindow"].as_manager()

    class Meta:
        ordering = ["group", "starts"]
        constraints = [
            models.CheckConstraint(condition=models.Q(weekdays__regex="^[1-7]{1,7}$"), name="window_weekdays"),
            models.CheckConstraint(condition=models.Q(minutes__range=(1, 1440)), name="window_minutes"),
            models.CheckConstraint(condition=models.Q(kind__in=["freeze", "slot"]), name="window_kind"),
        ]

    def __str__(self) -> str:
        return (
            f"{self.group}: {self.kind} {self.weekdays} at {self.starts:%H:%M} for {self.minutes} min ({self.timezone})"
        )

    def is_open(self, now: datetime) -> bool:
        """Does `now` (aware) lie in the window? Elapsed time is counted in real minutes, across a clock change too."""
        zone = ZoneInfo(self.timezone)
        local = now.astimezone(zone)
        for back in (0, 1):
            day = datetime.fromordinal(local.toordinal() - back).date()
            if str(day.isoweekday()) in self.weekdays:
                start = datetime.combine(day, self.starts, zone)
                if 0 <= now.timestamp() - start.timestamp() < self.minutes * 60:
                    return True
        return False
