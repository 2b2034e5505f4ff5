"""Which dead letters: what somebody filters, replays or purges is said in one way."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.db.models import Q

from devices.contract import TELEMETRY
from devices.models import Device, DeviceType, Tenant
from devices.tenancy import ScopedQuerySet
from telemetry.models import DeadLetter, Replay

_MOMENT = "%Y-%m-%d %H:%M UTC"


class _Octets(models.Func):
    """Bytes of a value, without reading it."""

    function = "octet_length"
    output_field = models.IntegerField()


@dataclass(frozen=True, slots=True)
class Selection:
    """The letters that meet every field given; all when none is."""

    reason: str = ""
    tenant: Tenant | None = None
    device_type: DeviceType | None = None
    device: Device | None = None
    nobodys: bool = False
    """Only those of no known device."""
    since: datetime | None = None
    """Last received at or after this,"""
    until: datetime | None = None
    """and before this."""
    letters: tuple[int, ...] = ()
    """Rows; only these."""

    @classmethod
    def of(cls, replay: Replay) -> "Selection":
        """What a replay was asked for."""
        return cls(
            replay.reason, replay.tenant, replay.device_type, replay.device, replay.nobodys, replay.since, replay.until,
            tuple(replay.letters),
        )  # fmt: skip

    def rows(self) -> ScopedQuerySet[DeadLetter]:
        """The letters. The company's view: doors ask for the right to see them first."""
        rows: ScopedQuerySet[DeadLetter] = DeadLetter.objects.all()
        told: dict[str, Any] = {
            "reason": self.reason,
            "device__tenant": self.tenant,
            "device__device_type": self.device_type,
            "device": self.device,
            "device__isnull": self.nobodys or None,
            "received_at__gte": self.since,
            "received_at__lt": self.until,
            "pk__in": self.letters,
        }
        return rows.filter(**{name: value for name, value in told.items() if value})

    def before(self, moment: datetime) -> "Selection":
        """Those of them that were there, and not received again since, at this moment."""
        return replace(self, until=min(self.until, moment) if self.until else moment)

    def fields(self) -> dict[str, Any]:
        """The same as fields of a `Replay`."""
        return {name: getattr(self, name) for name in self.__slots__} | {"letters": list(self.letters)}

    def words(self) -> str:
        """The same for people."""
        parts = [f"of reason {self.reason}"] if self.reason else []
        parts += [f"of {each}" for each in (self.tenant, self.device_type, self.device) if each]
        parts += ["of no known device"] if self.nobodys else []
        parts += [f"received since {self.since.astimezone(UTC):{_MOMENT}}"] if self.since else []
        parts += [f"received before {self.until.astimezone(UTC):{_MOMENT}}"] if self.until else []
        if self.letters:
            return ", ".join([f"{len(self.letters)} selected", *parts])
        return ", ".join(parts) or "all"


def replayable(rows: ScopedQuerySet[DeadLetter]) -> ScopedQuerySet[DeadLetter]:
    """Those that can be taken in again: readings, kept whole."""
    whole = Q(size=_Octets("payload"))
    return rows.filter(whole, topic__endswith=f"/{TELEMETRY}")


def unfit(letter: DeadLetter) -> str:
    """Why a letter cannot be replayed; empty when it can."""
    if not letter.topic.endswith(f"/{TELEMETRY}"):
        return "Only readings are taken in again; this was said on another channel, and what it told has passed."
    if letter.size != len(letter.payload):
        return f"It had {letter.size:,} bytes, and only the first {len(letter.payload):,} were kept."
    return ""
