"""Campaigns: one release for many devices, in stages; the rings before it, and the stop above them all."""

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now

from devices.models import Group, Site, Tenant
from devices.tenancy import COMPANY, ScopedQuerySet
from firmware.models.release import Release
from firmware.querysets import CampaignQuerySet
from firmware.states import CampaignState, PauseReason, StageState

PERCENT = 100
"""Rates are kept in basis points: 100 of them are one percent, so that every comparison is one of whole numbers."""
_BASIS_POINTS = [MaxValueValidator(10_000)]


def choices(states: type[CampaignState] | type[PauseReason] | type[StageState]) -> list[tuple[str, str]]:
    """As Django wants them."""
    return [(state.value, state.value.replace("_", " ").capitalize()) for state in states]


class Ring(models.Model):
    """A step of promotion: a release goes to the ring's groups, and completes there, before it may go further."""

    tenant_path = COMPANY
    name = models.CharField(max_length=100, unique=True)
    order = models.PositiveSmallIntegerField(unique=True, help_text="Rings are passed in this order, then the fleet.")
    groups = models.ManyToManyField(
        Group, blank=True, related_name="rings", help_text="Without groups it asks for nothing."
    )
    objects = ScopedQuerySet["Ring"].as_manager()

    class Meta:
        ordering = ["order"]

    def __str__(self) -> str:
        return self.name


class Campaign(models.Model):
    """One release on its way to devices. Its plan is fixed by the approval: an edit voids that (the database insists).

    A rollback is a campaign, too: it has a parent in `rollback_of` and no release of its own, as each of its updates
    leads back to what its device ran before.
    """

    STATES: ClassVar = choices(CampaignState)

    tenant_path = "updates__device__tenant"
    name = models.CharField(max_length=200)
    release = models.ForeignKey(Release, models.PROTECT, null=True, related_name="campaigns")
    rollback_of = models.OneToOneField("self", models.PROTECT, null=True, editable=False, related_name="rollback")
    notes = models.TextField(blank=True)

    # whom it is for: all of the given, within the release's device types
    tenants = models.ManyToManyField(Tenant, blank=True, related_name="campaigns")
    groups = models.ManyToManyField(Group, blank=True, related_name="campaigns")
    sites = models.ManyToManyField(Site, blank=True, related_name="campaigns")
    tags = ArrayField(models.CharField(max_length=63), default=list, blank=True, help_text="Devices with one of them.")
    versions = ArrayField(
        models.CharField(max_length=64), default=list, blank=True, help_text="Devices that run one of them now."
    )
    ring = models.ForeignKey(
        Ring, models.PROTECT, null=True, blank=True, related_name="campaigns", help_text="Empty: the fleet in general."
    )
    continuous = models.BooleanField(
        default=False, help_text="Also devices that come to match later, until the campaign ends."
    )
    spread_sites = models.BooleanField(default=False, help_text="Spread early stages over as many sites as possible.")

    # how fast
    max_concurrent = models.PositiveIntegerField(
        default=100, validators=[MinValueValidator(1)], help_text="Most devices between offer and installation."
    )
    offers_per_minute = models.PositiveIntegerField(default=600, validators=[MinValueValidator(1)])
    use_windows = models.BooleanField(default=True, help_text="Offer within the maintenance windows of groups only.")
    reboot_jitter = models.DurationField(
        default=timedelta(minutes=5), help_text="Each device reboots after a random part of this."
    )
    download_attempts = models.PositiveSmallIntegerField(default=5, validators=[MinValueValidator(1)])

    # when it stops by itself (rates in basis points)
    rolls_back = models.BooleanField(default=True, help_text="Take a bad release back by itself; otherwise only pause.")
    error_rate = models.PositiveSmallIntegerField(default=200, validators=_BASIS_POINTS)
    offline_rate = models.PositiveSmallIntegerField(default=500, validators=_BASIS_POINTS)
    reject_rate = models.PositiveSmallIntegerField(default=2000, validators=_BASIS_POINTS)
    burn_rate = models.PositiveSmallIntegerField(default=3, validators=[MinValueValidator(1)])
    success_target = models.PositiveSmallIntegerField(default=9900, validators=[MaxValueValidator(9_999)])
    min_executed = models.PositiveSmallIntegerField(default=10, validators=[MinValueValidator(1)])
    offline_grace = models.DurationField(default=timedelta(minutes=10))
    verify_time = models.DurationField(default=timedelta(minutes=5))
    install_timeout = models.DurationField(
        default=timedelta(hours=1), help_text="An installation that says nothing for longer has failed."
    )
    stage_timeout = models.DurationField(default=timedelta(hours=24))

    state = models.CharField(max_length=20, choices=STATES, default=CampaignState.DRAFT, editable=False)
    pause_reason = models.CharField(max_length=15, choices=choices(PauseReason), blank=True, editable=False)
    state_reason = models.CharField(max_length=500, blank=True, editable=False, help_text="Why it is in this state.")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, editable=False, related_name="+")
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, editable=False, related_name="+"
    )
    approved_at = models.DateTimeField(null=True, editable=False)
    approved_digest = models.CharField(
        max_length=64, blank=True, editable=False, help_text="SHA-256 of the plan with the artifact's digest."
    )
    starts_at = models.DateTimeField(null=True, blank=True, help_text="Empty: somebody starts it.")
    started_at = models.DateTimeField(null=True, editable=False)
    paused_at = models.DateTimeField(null=True, editable=False)
    resumed_at = models.DateTimeField(null=True, editable=False, help_text="Burn and reject rates count from here on.")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="A continuous campaign ends then.")
    ended_at = models.DateTimeField(null=True, editable=False)
    targets = models.PositiveIntegerField(default=0, editable=False, help_text="Devices at the start.")
    alerted_at = models.DateTimeField(null=True, editable=False, help_text="Said once that a stage does not move.")
    advanced_at = models.DateTimeField(null=True, editable=False)
    figures = models.JSONField(default=dict, editable=False, help_text="What the last look counted.")
    created_at = models.DateTimeField(db_default=Now())
    objects = CampaignQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=list(CampaignState)), name="campaign_state"),
            models.CheckConstraint(
                condition=models.Q(rollback_of__isnull=True) ^ models.Q(release__isnull=True),
                name="campaign_release_or_rollback",
            ),
            models.CheckConstraint(
                condition=models.Q(approved_by__isnull=True) | ~models.Q(approved_by=models.F("author")),
                name="campaign_two_people",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["draft", "pending_approval"], approved_at__isnull=True)
                | models.Q(state="aborted")
                | (~models.Q(state__in=["draft", "pending_approval"]) & models.Q(approved_at__isnull=False)),
                name="campaign_approved_before_it_runs",
            ),
            models.CheckConstraint(
                condition=models.Q(state="paused", paused_at__isnull=False)
                | (~models.Q(state="paused") & models.Q(pause_reason="")),
                name="campaign_paused_has_a_reason",
            ),
            models.CheckConstraint(
                condition=models.Q(error_rate__lte=10_000, offline_rate__lte=10_000, reject_rate__lte=10_000)
                & models.Q(success_target__lte=9_999, burn_rate__gte=1, min_executed__gte=1)
                & models.Q(max_concurrent__gte=1, offers_per_minute__gte=1, download_attempts__gte=1),
                name="campaign_gates",
            ),
        ]
        indexes = [
            models.Index(
                fields=["state"],
                condition=models.Q(state__in=["scheduled", "running", "paused", "aborting", "rolling_back"]),
                name="campaign_under_way",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Stage(models.Model):
    """One step of a campaign: so many percent of its devices, and how long they are watched before the next."""

    tenant_path = COMPANY
    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="stages")
    number = models.PositiveSmallIntegerField(help_text="From 1.")
    percent = models.PositiveSmallIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(PERCENT)], help_text="Cumulative."
    )
    soak = models.DurationField(default=timedelta(minutes=30))
    state = models.CharField(max_length=10, choices=choices(StageState), default=StageState.PENDING, editable=False)
    size = models.PositiveIntegerField(default=0, editable=False, help_text="Devices up to and with this stage.")
    upto = models.BigIntegerField(default=0, editable=False, help_text="The last place of this stage (Update.place).")
    started_at = models.DateTimeField(null=True, editable=False)
    soak_from = models.DateTimeField(null=True, editable=False, help_text="Moved on by pauses and new failures.")
    soak_failures = models.PositiveIntegerField(default=0, editable=False, help_text="Failures when the soak began.")
    ended_at = models.DateTimeField(null=True, editable=False)
    objects = ScopedQuerySet["Stage"].as_manager()

    class Meta:
        ordering = ["campaign", "number"]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "number"], name="stage_once"),
            models.CheckConstraint(condition=models.Q(percent__range=(1, 100)), name="stage_percent"),
            models.CheckConstraint(condition=models.Q(state__in=list(StageState)), name="stage_state"),
            models.UniqueConstraint(
                fields=["campaign"], condition=models.Q(state__in=["rolling", "soaking"]), name="stage_one_open"
            ),
        ]

    def __str__(self) -> str:
        return f"Stage {self.number}: {self.percent} %"


class Stop(models.Model):
    """The global stop: while one is open, nothing is offered to anybody. Kept as evidence."""

    tenant_path = COMPANY
    started_at = models.DateTimeField(db_default=Now())
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    reason = models.CharField(max_length=200)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    open = models.GeneratedField(
        expression=models.Q(ended_at__isnull=True),  # type: ignore[arg-type]  # a Q is one, as Django documents
        output_field=models.BooleanField(),
        db_persist=True,
    )
    objects = ScopedQuerySet["Stop"].as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["open"], condition=models.Q(ended_at__isnull=True), name="stop_open_once"),
        ]

    def __str__(self) -> str:
        return self.reason
