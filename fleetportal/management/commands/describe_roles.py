"""`manage.py describe_roles`: docs/roles.md, from the roles themselves. A test keeps the two the same."""

from typing import Any

from django.core.management.base import BaseCommand

from fleetportal import roles


class Command(BaseCommand):
    help = "Print docs/roles.md."

    def handle(self, *_: Any, **__: Any) -> None:
        self.stdout.write(roles.page(), ending="")
