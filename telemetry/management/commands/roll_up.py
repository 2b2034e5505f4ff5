"""`manage.py roll_up`: the rollups' work done now; with `--since` and `--until` a stretch of time computed anew."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from devices.models import Device
from telemetry.rolled import rollups


class Command(BaseCommand):
    help = (
        "Compute the figures of touched minutes and hours. With --since and --until: compute all of that time anew "
        "from the readings that are in the database. Safe to repeat, and while ingest goes on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--device", action="append", metavar="ID", help="Only this device; may be repeated.")
        parser.add_argument("--since", type=_moment, help="Day or time (ISO 8601, UTC where it does not say).")
        parser.add_argument("--until", type=_moment, help="As --since, not included.")

    def handle(
        self, *_: Any, device: list[str] | None, since: datetime | None, until: datetime | None, **__: Any
    ) -> None:
        now = timezone.now()
        if since is None or until is None:
            if since or until or device:
                raise CommandError("Say both --since and --until.")
            self.stdout.write(f"{rollups.roll_up(now)} buckets computed.")
            return
        if since >= until:
            raise CommandError("--since must be before --until.")
        devices = _devices(device)
        minutes = -(-int((until - since).total_seconds()) // 60)
        done = 0
        for step in rollups.recompute(devices, since, until, now):
            done += step
            percent = min(100, done * 100 // (minutes * len(devices)))
            self.stdout.write(f"\r{percent:3} % of {len(devices)} devices", ending="")
            self.stdout.flush()
        self.stdout.write("\ndone")


def _moment(text: str) -> datetime:
    """Raises ValueError, which argparse turns into words, for what is no time."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _devices(names: list[str] | None) -> list[int]:
    rows = dict(Device.objects.values_list("device_id", "pk").order_by("pk"))
    if unknown := sorted(set(names or ()) - set(rows)):
        raise CommandError(f"No device {', '.join(unknown)}.")
    return [rows[name] for name in names] if names else list(rows.values())
