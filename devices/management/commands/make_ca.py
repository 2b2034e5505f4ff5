"""`manage.py make_ca`: the certificate authorities, made once, and how they succeed one another."""

from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from devices import authorities, broker, ca_rules, renewals, succession
from devices.errors import DomainError
from devices.models import Authority, Certificate, Device


class Command(BaseCommand):
    help = "Make the root, the issuing CA and the claim root; or, with a subcommand, add and change authorities."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--if-missing", action="store_true", help="Do nothing when there are authorities already.")
        commands = parser.add_subparsers(dest="step", metavar="STEP")
        step = commands.add_parser("request", help="Make a key, and the request to sign at the ceremony.")
        step.add_argument("--name", required=True)
        step.add_argument("--out", required=True, type=Path)
        step = commands.add_parser("install", help="Add the issuing CA that the ceremony signed.")
        step.add_argument("--certificate", required=True, type=Path)
        step.add_argument("--root", required=True, type=Path, help="root.pem of the ceremony")
        step = commands.add_parser("issuing", help="Make another issuing CA; the root's key is here.")
        step.add_argument("--name", required=True)
        step = commands.add_parser("activate", help="New certificates are issued by this CA from now on.")
        step.add_argument("name")
        step = commands.add_parser("renew", help="Ask every device with a certificate of this CA for a new one, now.")
        step.add_argument("name")
        step.add_argument("--reason", required=True)
        step = commands.add_parser("give-up", help="The key of this issuing CA is lost; or trust this maker no more.")
        step.add_argument("name")
        step.add_argument("--reason", required=True)
        step.add_argument("--stolen", action="store_true", help="Withdraw its list: the broker refuses it all.")
        step = commands.add_parser("maker", help="Admit devices born with a certificate of a maker's CA.")
        step.add_argument("--name", required=True)
        step.add_argument("--certificate", required=True, type=Path)
        commands.add_parser("list", help="Every authority, whether its key opens, how long its list is good.")

    def handle(self, *_: Any, **options: Any) -> None:
        step, now = options["step"] or "everything", timezone.now()
        try:
            getattr(self, f"_{step.replace('-', '_')}")(options, now)
        except (DomainError, ca_rules.CertificateRefused) as refusal:
            raise CommandError(str(refusal)) from refusal

    def _everything(self, options: dict[str, Any], now: datetime) -> None:
        if options["if_missing"] and succession.waits_for_ceremony():
            raise CommandError("An issuing CA was requested and waits for the ceremony: make_ca install.")
        if not authorities.make_all(now) and not options["if_missing"]:
            raise CommandError("There are authorities already; a second issuing CA: make_ca issuing, or request.")

    def _request(self, options: dict[str, Any], _now: datetime) -> None:
        text = succession.request(options["name"])
        try:
            options["out"].write_text(text)
        except OSError as error:
            raise CommandError(f"{options['out']} cannot be written: {error.strerror}.") from error
        self.stdout.write(f"Sign {options['out']} at the ceremony, then: make_ca install.")
        self.stdout.write(f"key SHA-256 {succession.requested_key(text)}")

    def _install(self, options: dict[str, Any], now: datetime) -> None:
        row = succession.install(_certificate(options["certificate"]), _certificate(options["root"]), now)
        self._added(row, now)

    def _issuing(self, options: dict[str, Any], now: datetime) -> None:
        self._added(succession.make_issuing(options["name"], now), now)

    def _added(self, row: Authority, now: datetime) -> None:
        broker.write_all(now)  # its list must be at the broker before the first device is
        follow = "It issues from now on." if row.active else f'To issue with it: make_ca activate "{row.name}".'
        self.stdout.write(f"{row.name} is valid until {row.not_after:%F}. {follow}")

    def _activate(self, options: dict[str, Any], now: datetime) -> None:
        changed = succession.activate(options["name"], now)
        broker.write_all(now)
        self.stdout.write(f"{options['name']} issues from now on." if changed else f"{options['name']} issued already.")

    def _renew(self, options: dict[str, Any], now: datetime) -> None:
        row = succession.named(options["name"], Authority.Kind.ISSUING)
        users = Certificate.objects.trusted(now).filter(authority=row)
        opened = renewals.request(Device.objects.filter(pk__in=users.values("device")), None, now, options["reason"])
        self.stdout.write(f"{opened} devices will be asked, {settings.RENEWALS_PER_MINUTE} a minute.")

    def _give_up(self, options: dict[str, Any], now: datetime) -> None:
        row = succession.give_up(options["name"], options["reason"])
        if options["stolen"]:
            broker.withdraw_crl(row.pk)
        broker.write_all(now)
        self.stdout.write(f"{row.name} is given up.")

    def _maker(self, options: dict[str, Any], now: datetime) -> None:
        row = succession.register_maker(options["name"], _certificate(options["certificate"]), now)
        broker.write_all(now)
        self.stdout.write(f"{row.name}: devices with its certificates may enrol. Make a claim for it in the admin.")

    def _list(self, _options: dict[str, Any], now: datetime) -> None:
        for row in Authority.objects.order_by("kind", "pk"):
            state = "active" if row.active else "-"
            key = f"{row.key_backend}, {self._opens(row)}" if row.key_backend != Authority.Backend.NONE else "not here"
            self.stdout.write(f"{row.kind:8}{state:8}until {row.not_after:%F}  {row.name}  (key: {key})")
            self.stdout.write(f"{'':16}key SHA-256 {ca_rules.fingerprint(authorities.parsed(row))}")
            if row.kind == Authority.Kind.ISSUING:
                used = Certificate.objects.trusted(now).filter(authority=row).count()
                self.stdout.write(f"{'':16}certificates in use: {used}; revocation list {self._list_until(row)}")

    def _opens(self, row: Authority) -> str:
        try:
            authorities.open_signer(row)
        except DomainError:
            return "CANNOT BE OPENED"
        return "opens"

    def _list_until(self, row: Authority) -> str:
        try:
            crl = x509.load_der_x509_crl(broker.crl_der(row.pk))
        except DomainError:
            return "MISSING"
        return f"of {crl.last_update_utc:%F %R}, until {crl.next_update_utc:%F %R} UTC"


def _certificate(path: Path) -> x509.Certificate:
    try:
        return ca_rules.read(path.read_bytes())
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
    except ca_rules.CertificateRefused as refusal:
        raise CommandError(f"{path}: {refusal}") from refusal
