"""`manage.py rotate_certificates`: what the rotation would do, and having it done for some devices now."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Count
from django.utils import timezone

from devices import renewals
from devices.models import Device, Renewal
from devices.tasks import rotate_certificates

_SHOWN = 500


class Command(BaseCommand):
    help = "Tell how the rotation stands, show who would be asked when, or ask chosen devices now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Show who would be asked, and when.")
        parser.add_argument("--days", type=int, default=30, help="How far the dry run looks ahead (days).")
        parser.add_argument("--device", action="append", default=[], metavar="ID", help="Ask this device now.")
        parser.add_argument(
            "--group", action="append", default=[], metavar="NAME", help="Ask this group's devices now."
        )
        parser.add_argument("--type", action="append", default=[], metavar="SLUG", help="Ask this type's devices now.")
        parser.add_argument("--authority", action="append", default=[], metavar="NAME", help="… whose CA is this one.")

    def handle(self, *_: Any, **options: Any) -> None:
        now = timezone.now()
        if options["dry_run"]:
            self._dry_run(timedelta(days=options["days"]))
            return
        chosen = {
            "device_id__in": options["device"],
            "groups__name__in": options["group"],
            "device_type__slug__in": options["type"],
            "certificates__in": renewals.of_authorities(options["authority"], now) if options["authority"] else [],
        }
        asked = {lookup: values for lookup, values in chosen.items() if values}
        if asked:
            devices = Device.objects.filter(pk__in=Device.objects.filter(**asked).values("pk"))
            if not devices.exists():
                raise CommandError("No device is meant by that.")
            opened = renewals.request(devices, None, now)
            rotate_certificates()
            self.stdout.write(
                f"{devices.count()} devices, {opened} renewals opened. Who is offline is asked when back."
            )
        for state, count in Renewal.objects.values_list("state").annotate(count=Count("pk")).order_by("state"):
            self.stdout.write(f"{state:8} {count:7}")

    def _dry_run(self, horizon: timedelta) -> None:
        told = renewals.preview(timezone.now(), horizon, _SHOWN)
        for each in told:
            self.stdout.write(
                f"{each.at:%Y-%m-%d %H:%M}  {each.device.device_id}  {each.device.tenant.slug}"
                f"  expires {each.certificate.not_after:%Y-%m-%d %H:%M}"
            )
        more = " (only the first are shown)" if len(told) == _SHOWN else ""
        self.stdout.write(f"{len(told)} renewals{more}; nothing was changed.")
