"""`python docker/prepare.py`: everything between an empty database and a portal. Safe to repeat; run at each start."""

import os

import django
from django.core.management import call_command
from django.utils import timezone


def main() -> None:
    """Migrate, make authorities and the key of permits once, the broker's files, the partitions of the coming days."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
    django.setup()
    from firmware import permits  # noqa: PLC0415 (models need the settings)
    from telemetry.tables import partitions  # noqa: PLC0415

    call_command("migrate", interactive=False)
    call_command("make_ca", if_missing=True)
    call_command("write_broker_files")
    partitions.make_ahead(timezone.now())
    permits.public_key()  # makes the key; the workers may only read it


if __name__ == "__main__":
    main()
