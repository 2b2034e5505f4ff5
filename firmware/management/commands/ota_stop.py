"""`manage.py ota_stop`: the global stop without a browser, and what is under way."""

import argparse
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from firmware import campaigns
from firmware.models import Campaign, Stop


class Command(BaseCommand):
    help = "Say whether all OTA is stopped and which campaigns are under way; `on` and `off` change it, with a reason."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Nothing: only look."""
        parser.add_argument("to", nargs="?", choices=["on", "off"])
        parser.add_argument("--user", default="", help="Who does it: a user name of the portal.")
        parser.add_argument("--reason", default="", help="Why; kept as evidence.")

    def handle(self, *_: Any, to: str | None, user: str, reason: str, **__: Any) -> None:
        """Do it, then look."""
        if to:
            if not user or not reason.strip():
                raise CommandError("Say who (--user) and why (--reason): both become evidence.")
            person = get_user_model().objects.filter(username=user, is_staff=True, is_active=True).first()
            if person is None:
                raise CommandError(f"There is no member of staff called {user}.")
            if to == "on":
                campaigns.stop_all(person, reason, timezone.now())
            elif not campaigns.lift_stop(person, reason, timezone.now()):
                self.stdout.write("There was no stop to lift.")
        self._look()

    def _look(self) -> None:
        stop = Stop.objects.filter(open=True).select_related("started_by").first()
        if stop:
            self.stdout.write(f"All OTA is STOPPED since {stop.started_at:%Y-%m-%d %H:%M} UTC by {stop.started_by}:")
            self.stdout.write(f"  {stop.reason}")
        else:
            self.stdout.write("No stop is in force.")
        rows = Campaign.objects.under_way().select_related("release").order_by("pk")
        for row in rows:
            flying = row.updates.active().count()
            self.stdout.write(f"campaign {row.pk} {row.get_state_display().lower()}, {flying} under way: {row.name}")
            if row.state_reason:
                self.stdout.write(f"  {row.state_reason}")
        if not rows:
            self.stdout.write("No campaign is under way.")
