"""`manage.py make_partitions`: what beat does every hour, now and without a worker."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from telemetry.tables import partitions


class Command(BaseCommand):
    help = "Make the partitions of the coming days, and of readings that lie in none. Safe to repeat."

    def handle(self, *_: Any, **__: Any) -> None:
        now = timezone.now()
        made = partitions.make_ahead(now)
        self.stdout.write("\n".join([*made, f"{len(made)} made, {partitions.days_ahead(now)} days from today on."]))
        for day in partitions.stray_days():
            self.stderr.write(f"Readings of {day} still lie in no partition: somebody reads the table; try again.")
