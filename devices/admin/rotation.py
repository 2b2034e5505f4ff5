"""The action that has devices asked for a new certificate now: whom it reaches, in numbers, before and after."""

from dataclasses import dataclass

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from devices import renewals
from devices.admin.base import FleetAdmin, ask_reason, where_from
from devices.models import Certificate, Device
from devices.tasks import rotate_certificates


def describe(device: Device) -> str:
    """A device as a line of a question: its name alone may be another's, too."""
    return f"{device} ({device.device_id}) of {device.tenant}"


def rotate(page: FleetAdmin, request: HttpRequest, devices: QuerySet[Device]) -> HttpResponse | None:
    """Ask why, then open their renewals and start asking."""
    devices = devices.select_related("tenant")
    reach = Reach.of(devices)
    answer = ask_reason(page, request, devices, "Rotate certificate", about=describe, notes=reach.notes)
    if not isinstance(answer, str):
        return answer
    with transaction.atomic():
        opened = renewals.request(devices, request.user, timezone.now(), answer)
        transaction.on_commit(rotate_certificates.delay, robust=True)  # beat does the same, only later
    level = messages.SUCCESS if reach.able else messages.WARNING
    messages.add_message(request, level, reach.told(opened))
    return where_from(page, request)


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a rotation reaches: of all that were selected those that can renew, and of those how many are online."""

    total: int
    able: int
    online: int

    @classmethod
    def of(cls, devices: QuerySet[Device]) -> "Reach":
        """Counted now."""
        held = Certificate.objects.trusted(timezone.now()).filter(device=OuterRef("pk"))
        able = devices.filter(Exists(held), state=Device.State.ACTIVE)
        return cls(devices.count(), able.count(), able.filter(presence__online=True).count())

    def notes(self) -> list[str]:
        """What will happen, in numbers; what cannot happen is left out."""
        parts = [
            (self.online, f"Online, asked now: {self.online}, at most {settings.RENEWALS_PER_MINUTE} a minute."),
            (self._offline, f"Offline, asked when they come online: {self._offline}."),
            (self._left, f"Not active, or without a valid certificate: {self._left}. Nothing happens to them."),
            (self.able, "The present certificate stays valid until the new one has been seen in use."),
        ]
        return [text for count, text in parts if count]

    def told(self, opened: int) -> str:
        """What happened."""
        parts = [
            (True, f"Renewals opened: {opened}."),
            (self.able > opened, f"Under way already, and asked again: {self.able - opened}."),
            (self._offline, f"Offline, they will be asked when they come online: {self._offline}."),
            (self._left, f"Nothing to renew, as not active or without a valid certificate: {self._left}."),
        ]
        return " ".join(text for true, text in parts if true)

    @property
    def _offline(self) -> int:
        return self.able - self.online

    @property
    def _left(self) -> int:
        return self.total - self.able
