"""`manage.py prepare_demo`: everything between an empty database and a demo, in one process."""

import json
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from devices import authorities, broker
from devices.models import DeviceType
from fleetportal import demo, demo_firmware
from telemetry.tables import partitions


class Command(BaseCommand):
    help = "Migrate, make the CA, write the broker's files, make partitions and seed the demo. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--output", type=Path, required=True, help="Where sign-ins and claim tokens go (mode 600).")

    def handle(self, *_: Any, output: Path, **__: Any) -> None:
        if not settings.DEMO_PASSWORD:
            raise CommandError("DEMO_PASSWORD is empty: the demo's people need a password.")
        now = timezone.now()
        call_command("migrate", interactive=False, verbosity=0)
        authorities.make_all(now)
        broker.write_all(now)
        partitions.make_ahead(now)
        known = json.loads(output.read_text()) if output.exists() else {}
        seeded = demo.seed(settings.DEMO_PASSWORD, known, now)
        types = list(DeviceType.objects.filter(slug__in=demo.TYPES))
        text = demo.dump(seeded | demo_firmware.seed(output.parent / "demo-firmware", types, now))
        temporary = output.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        temporary.replace(output)
