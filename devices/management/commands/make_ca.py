"""`manage.py make_ca`: the certificate authorities, made once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from devices import authorities


class Command(BaseCommand):
    help = "Make the root, the issuing CA and the claim root. Keys go, encrypted, into CA_DIRECTORY."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--if-missing", action="store_true", help="Do nothing when there are authorities already.")

    def handle(self, *_: Any, if_missing: bool, **__: Any) -> None:
        if not authorities.make_all(timezone.now()) and not if_missing:
            raise CommandError("There are authorities already; a second issuing CA is added beside the first, by hand.")
