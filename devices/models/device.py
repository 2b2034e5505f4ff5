"""Device types, devices, groups, and the presence of each device."""

from datetime import datetime, timedelta

from django.contrib.auth.models import Group as StaffGroup
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now, Upper

from devices.models.fields import MAX_HARDWARE_ID, is_part, validate_part
from devices.models.tenant import Site, Tenant, check_site
from devices.querysets import DeviceQuerySet
from devices.tenancy import ScopedQuerySet


class DeviceType(models.Model):
    """A hardware model. Customers see the types of the devices they own."""

    class Criticality(models.TextChoices):
        LOW = "low", "Low"
        NORMAL = "normal", "Normal"
        HIGH = "high", "High"

    tenant_path = "devices__tenant"
    slug = models.CharField(max_length=63, unique=True, validators=[validate_part])
    name = models.CharField(max_length=200)
    owner = models.ForeignKey(StaffGroup, models.PROTECT, null=True, blank=True, help_text="Staff responsible for it.")
    criticality = models.CharField(max_length=10, choices=Criticality, default=Criticality.NORMAL)
    silence_seconds = models.PositiveIntegerField(
        default=180, help_text="Seconds of silence after which a device counts as offline; longer than its interval."
    )
    telemetry_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Readings one device may send per minute, in the long run; empty: what the portal's settings say.",
    )
    synthetic = models.BooleanField(default=False, help_text="Simulated devices: left out of service levels.")
    objects = ScopedQuerySet["DeviceType"].as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=is_part("slug"), name="devicetype_slug_is_topic_part"),
            models.CheckConstraint(condition=models.Q(silence_seconds__gte=10), name="devicetype_silence"),
        ]

    def __str__(self) -> str:
        return self.name


class Group(models.Model):
    """Some devices of a tenant, named: what windows, campaigns and commands are aimed at."""

    tenant_path = "tenant"
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="groups")
    name = models.CharField(max_length=100)
    renewals_per_minute = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Most certificates asked to renew per minute in this group; empty: no limit."
    )
    objects = ScopedQuerySet["Group"].as_manager()

    class Meta:
        ordering = ["tenant", "name"]
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="group_once")]

    def __str__(self) -> str:
        return self.name


class Device(models.Model):
    """One thing out there. `device_id` is minted by the portal: its certificates' CN, its topic's third part."""

    class State(models.TextChoices):
        REGISTERED = "registered", "Registered"
        ACTIVE = "active", "Active"
        QUARANTINED = "quarantined", "Quarantined"
        DECOMMISSIONED = "decommissioned", "Decommissioned"

    tenant_path = "tenant"
    id = models.AutoField(primary_key=True)  # four bytes: it stands in every reading
    device_id = models.CharField(max_length=63, unique=True, validators=[validate_part], editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="devices")
    device_type = models.ForeignKey(DeviceType, models.PROTECT, related_name="devices")
    hardware_id = models.CharField(
        max_length=MAX_HARDWARE_ID, help_text="The maker's serial number, unique per device type."
    )
    name = models.CharField(max_length=200, blank=True)
    site = models.ForeignKey(Site, models.PROTECT, null=True, blank=True, related_name="devices")
    groups = models.ManyToManyField(Group, blank=True, related_name="devices")
    tags = ArrayField(
        models.CharField(max_length=63, validators=[validate_part]),
        default=list,
        blank=True,
        help_text="Words to choose devices by, separated by commas.",
    )
    state = models.CharField(max_length=15, choices=State, default=State.REGISTERED)
    claim = models.ForeignKey(
        "devices.Claim", models.PROTECT, null=True, blank=True, related_name="devices", help_text="What it joined by."
    )
    attested = models.BooleanField(default=False, help_text="Born with a certificate of its maker, and proved it.")
    replaces = models.OneToOneField(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="replaced_by",
        help_text="The device whose place it took, and whose history goes before its own.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    objects = DeviceQuerySet.as_manager()

    class Meta:
        ordering = ["device_id"]
        constraints = [
            models.UniqueConstraint(fields=["device_type", "hardware_id"], name="device_hardware_once"),
            models.CheckConstraint(condition=is_part("device_id"), name="device_id_is_topic_part"),
            models.CheckConstraint(
                condition=models.Q(state__in=["registered", "active", "quarantined", "decommissioned"]),
                name="device_state",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "name", "device_id"], name="device_by_tenant"),
            models.Index(fields=["name", "device_id"], name="device_by_name"),
            GinIndex(fields=["tags"], name="device_by_tag"),
            # People search for a part of a name or of a hardware id, in any case.
            GinIndex(OpClass(Upper("name"), name="gin_trgm_ops"), name="device_name_parts"),
            GinIndex(OpClass(Upper("hardware_id"), name="gin_trgm_ops"), name="device_hardware_parts"),
        ]

    def __str__(self) -> str:
        return self.name or self.device_id

    def clean(self) -> None:
        """A device is at a place of its own tenant (the database insists, too)."""
        check_site(self.site, self.tenant_id)


class Presence(models.Model):
    """What is known of a device's connection. Its own narrow table: it is rewritten all the time.

    Who is believed: the newest session, then its last will, then silence (presence.py).
    """

    class Ended(models.TextChoices):
        NOT = "", "—"
        WILL = "will", "Last will"
        SILENCE = "silence", "Silence"

    tenant_path = "device__tenant"
    device = models.OneToOneField(Device, models.PROTECT, primary_key=True, related_name="presence")
    online = models.BooleanField(default=False)
    ended = models.CharField(max_length=10, choices=Ended, default=Ended.NOT, blank=True)
    session = models.BigIntegerField(default=-1, help_text="The device's count of connects at its last birth.")
    boot_id = models.CharField(max_length=100, blank=True)
    firmware_version = models.CharField(max_length=100, blank=True)
    agent = models.CharField(max_length=100, blank=True)
    rssi_dbm = models.SmallIntegerField(null=True)
    skew_ms = models.BigIntegerField(
        null=True,
        help_text="Received − its time (ms), as the last birth or telling reading had it; above zero: its clock is"
        " behind.",
    )
    changed_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(null=True)
    objects = ScopedQuerySet["Presence"].as_manager()

    class Meta:
        verbose_name_plural = "presence"
        indexes = [
            # The silence sweep looks only at devices that are online.
            models.Index(fields=["last_seen_at"], condition=models.Q(online=True), name="presence_online_seen"),
        ]

    def __str__(self) -> str:
        return "online" if self.online else "offline"

    def is_silent(self, now: datetime, silence: timedelta) -> bool:
        """Has an online device not been heard for longer than its type allows?"""
        return self.online and self.last_seen_at is not None and now - self.last_seen_at > silence
