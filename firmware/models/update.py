"""Updates: one device in one campaign, what it reported, and what it is known to run."""

from uuid import uuid4

from django.db import models
from django.db.models.functions import Now

from devices.models import Device
from devices.tenancy import ScopedQuerySet
from firmware.models.campaign import Campaign
from firmware.models.release import Release
from firmware.querysets import UpdateQuerySet
from firmware.states import ACTIVE, FAILURES, UpdateState, Waiting

_CHOICES = [(state.value, state.value.replace("_", " ").capitalize()) for state in UpdateState]
_WAITING = [(each.value, each.value.capitalize()) for each in Waiting]


class Update(models.Model):
    """One device in one campaign. Planned until `offered_at`; then active until its end.

    A device has at most one that is offered and active: the database insists. States: firmware/states.py.
    """

    tenant_path = "device__tenant"
    update_id = models.UUIDField(default=uuid4, unique=True, editable=False, help_text="How the device knows it.")
    # Both have indexes below that begin with them: each one less is less to write whenever an update moves.
    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="updates", db_index=False)
    device = models.ForeignKey(Device, models.PROTECT, related_name="updates", db_index=False)
    serial = models.CharField(max_length=100, help_text="The device's hardware id, kept when it is removed.")
    release = models.ForeignKey(Release, models.PROTECT, null=True, related_name="updates", help_text="To install.")
    stage = models.PositiveSmallIntegerField(help_text="Number of its stage.")
    place = models.BigIntegerField(help_text="Its place in the order of the campaign: random, but always the same.")
    state = models.CharField(max_length=12, choices=_CHOICES, default=UpdateState.QUEUED)
    waiting = models.CharField(max_length=10, choices=_WAITING, blank=True, default=Waiting.STAGE)
    reason_code = models.CharField(max_length=100, blank=True, help_text="Why it ended, in one word.")
    detail = models.CharField(max_length=200, blank=True, help_text="The same for people.")
    attempt = models.PositiveSmallIntegerField(default=1)
    seq = models.BigIntegerField(default=-1, help_text="Of the newest report that moved it, in this attempt.")
    progress = models.PositiveSmallIntegerField(null=True, help_text="Percent of the download.")
    from_version = models.CharField(max_length=100, blank=True, help_text="What it ran when it was offered.")
    fallback = models.ForeignKey(
        Release, models.PROTECT, null=True, related_name="+", help_text="What it is taken back to: last verified."
    )
    offered_boot_id = models.CharField(max_length=100, blank=True)
    installing_boot_id = models.CharField(max_length=100, blank=True)
    boot_id = models.CharField(max_length=100, blank=True, help_text="Of its newest report.")
    permit = models.TextField(blank=True, help_text="The portal's signature that permits an older version (Base64).")
    permit_key = models.CharField(max_length=64, blank=True, help_text="Fingerprint of the key that signed it.")
    offered_at = models.DateTimeField(null=True)
    installing_at = models.DateTimeField(null=True)
    rebooting_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True, help_text="The device said that its self-check passed.")
    ended_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(db_default=Now(), help_text="Last moved.")
    needs_attention = models.BooleanField(default=False)
    objects = UpdateQuerySet.as_manager()

    class Meta:
        ordering = ["campaign", "place"]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "device"], name="update_once"),
            models.UniqueConstraint(
                fields=["device"],
                condition=models.Q(state__in=ACTIVE, offered_at__isnull=False),
                name="update_one_active",
            ),
            models.CheckConstraint(condition=models.Q(state__in=list(UpdateState)), name="update_state"),
            models.CheckConstraint(
                condition=models.Q(state__in=ACTIVE, ended_at__isnull=True)
                | (~models.Q(state__in=ACTIVE) & models.Q(ended_at__isnull=False)),
                name="update_ended_has_a_date",
            ),
            # In flash or beyond means it was offered.
            models.CheckConstraint(
                condition=models.Q(offered_at__isnull=False)
                | models.Q(state__in=["queued", "canceled", "removed", "skipped"]),
                name="update_offered_before_it_moves",
            ),
            models.CheckConstraint(condition=models.Q(place__gte=0, attempt__gte=1), name="update_place"),
        ]
        indexes = [
            models.Index(fields=["campaign", "state"], name="update_of_campaign"),
            models.Index(fields=["campaign", "place", "id"], name="update_in_order"),
            models.Index(
                fields=["campaign", "place"],
                condition=models.Q(state="queued", offered_at__isnull=True),
                name="update_planned",
            ),
            models.Index(fields=["device", "-id"], name="update_of_device"),
            # Failures are few: found without a look at the updates that went well.
            models.Index(fields=["-ended_at"], condition=models.Q(state__in=list(FAILURES)), name="update_failed"),
        ]

    def __str__(self) -> str:
        return f"{self.serial}: {self.state}"


class Report(models.Model):
    """A report as it came: the time line of an update. The same one again counts up; how many there are is bounded."""

    tenant_path = "update__device__tenant"
    update = models.ForeignKey(Update, models.PROTECT, related_name="reports")
    at = models.DateTimeField(help_text="First received.")
    attempt = models.PositiveSmallIntegerField()
    seq = models.BigIntegerField()
    state = models.CharField(max_length=100, help_text="In the device's words.")
    progress = models.PositiveSmallIntegerField(null=True)
    reason_code = models.CharField(max_length=100, blank=True)
    firmware_version = models.CharField(max_length=100)
    boot_id = models.CharField(max_length=100)
    applied = models.BooleanField(help_text="It moved the update; otherwise it came late, twice or made no sense.")
    count = models.PositiveIntegerField(default=1)
    objects = ScopedQuerySet["Report"].as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["update", "attempt", "seq"], name="report_once")]

    def __str__(self) -> str:
        return f"{self.attempt}.{self.seq} {self.state}"


class Verified(models.Model):
    """The version a device was last seen healthy with: what a rollback leads back to."""

    tenant_path = "device__tenant"
    device = models.OneToOneField(Device, models.PROTECT, primary_key=True, related_name="verified")
    version = models.CharField(max_length=100)
    release = models.ForeignKey(Release, models.PROTECT, null=True, related_name="+", help_text="Where we have it.")
    verified_at = models.DateTimeField()
    objects = ScopedQuerySet["Verified"].as_manager()

    class Meta:
        verbose_name_plural = "verified"

    def __str__(self) -> str:
        return self.version
