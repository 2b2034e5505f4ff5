"""`manage.py rotate_signing_key`: the next signing key now, and nothing that the old ones signed is believed."""

from typing import Any

from allauth.idp.oidc.models import Token
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone

from devices.people import signing_keys


class Command(BaseCommand):
    help = "Replace every signing key at once: one got lost. Apps and devices fetch new access tokens by themselves."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="Why; kept as evidence.")

    def handle(self, *_: Any, **options: Any) -> None:
        with transaction.atomic():
            gone = signing_keys.replace_all(timezone.now(), options["reason"])
            ended, _ = Token.objects.filter(type=Token.Type.ACCESS_TOKEN).delete()
        self.stdout.write(
            f"{gone} signing keys are gone, a new one signs, {ended} access tokens ended. Sign-ins and refresh tokens"
            " stay: they are not signed. Other services that verify our tokens learn the new key from JWKS."
        )
