"""`manage.py write_broker_files`: trust, server certificate, CRL and ACL for the broker."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from devices import broker


class Command(BaseCommand):
    help = "Write the files the broker reads from BROKER_DIRECTORY. Safe to repeat."

    def handle(self, *_: Any, **__: Any) -> None:
        broker.write_all(timezone.now())
