"""Long work that somebody asked for, with its progress: replays of dead letters and exports of readings."""

from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from devices.models import Device, DeviceType, Tenant
from devices.tenancy import COMPANY, ScopedQuerySet


class Job(models.Model):
    """What all of it has in common. One that a crash cut off runs again: each is idempotent (jobs.py)."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        CANCELED = "canceled", "Cancelled"

    OPEN = (State.WAITING, State.RUNNING)
    """Not ended yet."""

    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    done = models.PositiveBigIntegerField(default=0, help_text="Of `total`, so far.")
    total = models.PositiveBigIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True, help_text="Why it failed, for people.")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, help_text="When a worker last began it.")
    starts = models.PositiveSmallIntegerField(default=0, help_text="How often a worker began it.")
    beat_at = models.DateTimeField(null=True, help_text="Its last sign of life; one without runs again.")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        ordering = ["-created_at", "-pk"]

    @property
    def percent(self) -> int:
        """How far it is, 0…100."""
        return min(100, self.done * 100 // self.total) if self.total else 0

    @property
    def is_open(self) -> bool:
        """Does it wait, or run?"""
        return self.state in self.OPEN


class Replay(Job):
    """Dead letters taken in once more, after whatever was wrong was mended.

    Which letters: those that meet every field given (`deadletters.Selection`). Its figures are written in the
    transactions that move the letters, so that they are exact whatever crashes.
    """

    tenant_path = COMPANY
    reason = models.CharField(max_length=50, blank=True, help_text="Letters of this reason; empty: of any.")
    tenant = models.ForeignKey(Tenant, models.PROTECT, null=True, blank=True, related_name="+")
    device_type = models.ForeignKey(DeviceType, models.PROTECT, null=True, blank=True, related_name="+")
    device = models.ForeignKey(Device, models.PROTECT, null=True, blank=True, related_name="+")
    nobodys = models.BooleanField(default=False, help_text="Only letters of no known device.")
    since = models.DateTimeField(null=True, blank=True, help_text="Last received at or after this.")
    until = models.DateTimeField(null=True, blank=True, help_text="Last received before this.")
    letters = ArrayField(models.BigIntegerField(), default=list, blank=True, help_text="Only these; empty: all.")
    why = models.CharField(max_length=200, blank=True, help_text="What whoever asked for it said.")
    stored = models.PositiveBigIntegerField(default=0, help_text="Readings that are stored now and were not before.")
    duplicates = models.PositiveBigIntegerField(default=0, help_text="Readings that were stored already.")
    refused = models.PositiveBigIntegerField(default=0, help_text="Letters that were refused again.")
    skipped = models.PositiveBigIntegerField(default=0, help_text="Letters that cannot be replayed.")
    objects: Any = ScopedQuerySet["Replay"].as_manager()

    class Meta(Job.Meta):
        pass

    def __str__(self) -> str:
        return f"Replay {self.pk}: {self.reason or 'any reason'}"


class Export(Job):
    """Readings of some devices as a file, for as long as EXPORT_DAYS."""

    class Format(models.TextChoices):
        CSV = "csv", "CSV"
        PARQUET = "parquet", "Parquet"

    class Resolution(models.TextChoices):
        READING = "reading", "Every reading"
        MINUTE = "minute", "Figures of each minute"
        HOUR = "hour", "Figures of each hour"

    tenant_path = "tenant"
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="exports")
    devices = models.ManyToManyField(Device, related_name="exports")
    since = models.DateTimeField()
    until = models.DateTimeField()
    format = models.CharField(max_length=10, choices=Format, default=Format.CSV)
    resolution = models.CharField(max_length=10, choices=Resolution, default=Resolution.READING)
    rows = models.PositiveBigIntegerField(default=0, help_text="Rows written.")
    path = models.CharField(max_length=200, blank=True, help_text="In the storage `exports`.")
    size = models.PositiveBigIntegerField(default=0, help_text="Bytes.")
    expires_at = models.DateTimeField(null=True)
    objects: Any = ScopedQuerySet["Export"].as_manager()

    class Meta(Job.Meta):
        constraints = [models.CheckConstraint(condition=models.Q(since__lt=models.F("until")), name="export_range")]
        indexes = [models.Index(fields=["tenant", "-created_at"], name="export_of_tenant")]

    def __str__(self) -> str:
        return f"Export {self.pk} ({self.format})"

    @property
    def is_there(self) -> bool:
        """Can its file be fetched? One that has expired cannot, even while nobody has deleted it yet."""
        kept = self.expires_at is not None and self.expires_at > timezone.now()
        return self.state == self.State.DONE and bool(self.path) and kept
