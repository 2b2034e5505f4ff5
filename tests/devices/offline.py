"""An operator's hands in tests: `manage.py make_ca`, and a root that the portal never sees."""

import io
from datetime import timedelta

from django.core.management import call_command
from django.utils import timezone

from devices import ca_rules, pki
from devices.models import Authority, Event

NOW = timezone.now()
YEAR = timedelta(days=365)


def make_ca(*arguments):
    out = io.StringIO()
    call_command("make_ca", *map(str, arguments), stdout=out)
    return out.getvalue()


class Offline:
    """A root that the portal never sees."""

    def __init__(self, folder, name="Offline root", lifetime=20 * YEAR, now=NOW):
        self.folder, self.key = folder, pki.new_key()
        self.certificate = pki.make_root(name, self.key, lifetime, now)
        self.pem = folder / f"{name}.pem"
        self.pem.write_text(pki.pem(self.certificate))

    def sign(self, request, lifetime=5 * YEAR, now=NOW):
        """The issuing CA that a request asks for."""
        asked = pki.read_request(request.read_bytes())
        name = ca_rules.common_name(asked.subject)
        made = pki.make_issuing(name, asked.public_key(), self.certificate, self.key, lifetime, now)
        return self.write(made)

    def write(self, certificate):
        path = self.folder / f"{pki.serial_text(certificate)}.pem"
        path.write_text(pki.pem(certificate))
        return path


def kinds():
    return sorted(Authority.objects.values_list("kind", "name", "active"))


def events(kind):
    return list(Event.objects.filter(kind=kind).order_by("pk").values_list("detail", flat=True))
