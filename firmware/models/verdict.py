"""Verdicts: what the engine decided about a campaign, with the numbers it decided on."""

from django.db import models
from django.db.models.functions import Now

from devices.tenancy import COMPANY, ScopedQuerySet
from firmware.models.campaign import Campaign


class Verdict(models.Model):
    """One decision. Kept for ever, stored where something changed and not at every look."""

    tenant_path = COMPANY
    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="verdicts")
    at = models.DateTimeField(db_default=Now())
    stage = models.PositiveSmallIntegerField(null=True)
    gate = models.CharField(max_length=20, help_text="Which rule spoke.")
    action = models.CharField(max_length=20, help_text="What was done.")
    text = models.CharField(max_length=300, help_text="The reason, with its numbers, for people.")
    figures = models.JSONField(help_text="Every numerator, denominator and threshold it was decided on.")
    user = models.CharField(max_length=150, blank=True, help_text="Who, where a person decided.")
    objects = ScopedQuerySet["Verdict"].as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["campaign", "-id"], name="verdict_of_campaign")]

    def __str__(self) -> str:
        return self.text
