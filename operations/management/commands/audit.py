"""`manage.py audit [NAME …]`: run the audits now; exit code 1 while a critical finding is open."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from devices.auditing import audits
from devices.models import Finding
from operations.audits import Ran, run

_SHOWN = 50
_ROW = "{:<24} {:>7} {:>7} {:>9} {:>8}  {}"


class Command(BaseCommand):
    help = "Run the audits now and print what came of them. Exits with 1 while a critical finding is open."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="Only these audits.")

    def handle(self, *_: Any, names: list[str], **__: Any) -> None:
        known = [each.name for each in audits()]
        if unknown := sorted(set(names) - set(known)):
            raise CommandError(f"No audit {', '.join(unknown)}; there are: {', '.join(known)}.")
        self.stdout.write(_ROW.format("audit", "found", "opened", "resolved", "seconds", "state"))
        for ran in run(timezone.now(), names):
            self.stdout.write(_line(ran))
        critical = Finding.objects.filter(resolved_at__isnull=True, severity=Finding.Severity.CRITICAL)
        rows = list(critical.select_related("device")[: _SHOWN + 1])
        if not rows:
            return
        self.stdout.write("\nCritical findings that are open:")
        for row in rows[:_SHOWN]:
            about = row.device.device_id if row.device else row.subject or "—"
            self.stdout.write(f"  {row.kind:<28} {about:<24} {row.detail}")
        if len(rows) > _SHOWN:
            self.stdout.write("  and more")
        sys.exit(1)


def _line(ran: Ran) -> str:
    return _ROW.format(ran.name, ran.found, ran.opened, ran.resolved, f"{ran.seconds:.2f}", ran.state)
