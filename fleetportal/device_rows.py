"""Lists of devices as their owners see them: which ones, and each with its newest reading and how it is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Func, Min, Q, QuerySet
from django.http import QueryDict
from django.utils import timezone

from devices.models import Certificate, Device, DeviceType, Site
from devices.querysets import DeviceQuerySet
from firmware.models import Update
from fleetportal.kept import for_a_moment
from telemetry.models import Latest, Metric

STATES = [
    ("online", "Online"),
    ("offline", "Offline"),
    ("silent", "Silent"),
    ("updating", "Updating"),
    ("failed", "Update failed"),
    ("ending", "Certificate ends soon"),
    *(choice for choice in Device.State.choices if choice[0] != Device.State.ACTIVE),
]
KEPT_SECONDS = 60
LOOKED_AT = 2000
"""Devices whose tags and versions are offered to choose from: any other can be typed."""
_OFFERED = 50
_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked for in the address of the list."""

    q: str = ""
    type: str = ""
    site: str = ""
    tag: str = ""
    firmware: str = ""
    state: str = ""

    def __bool__(self) -> bool:
        """Is anything asked for at all?"""
        return any(self.told().values())

    @property
    def filtered(self) -> int:
        """How many filters, without the words that are searched for."""
        return sum(bool(value) for name, value in self.told().items() if name != "q")

    def told(self) -> dict[str, str]:
        """By name, as in the address."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, asked: QueryDict) -> "Search":
        """What can be nothing's name is not asked for."""
        told = {name: asked.get(name, "").strip()[:_LENGTH] for name in cls.__slots__}
        return cls(**{name: "" if "\0" in value else value for name, value in told.items()})


def found(search: Search, user: Any, now: datetime) -> DeviceQuerySet:
    """The devices somebody may see that match all that is asked for, by name."""
    rows = Device.objects.visible_to(user).order_by("name", "device_id")
    if search.q:
        named = Q(name__icontains=search.q) | Q(device_id=search.q) | Q(hardware_id__iexact=search.q)
        rows = rows.filter(named)
    if search.type:
        rows = rows.filter(device_type__slug=search.type)
    if search.site:
        rows = rows.filter(site_id=int(search.site)) if search.site.isdecimal() else rows.none()
    if search.tag:
        rows = rows.filter(tags__contains=[search.tag.lower()])
    if search.firmware:
        rows = rows.filter(presence__firmware_version=search.firmware)
    return _in_state(rows, search.state, user, now)


def _in_state(rows: DeviceQuerySet, state: str, user: Any, now: datetime) -> DeviceQuerySet:
    if state in ("online", "offline"):
        return rows.filter(state=Device.State.ACTIVE, presence__online=state == "online")
    if state == "silent":
        return silent(rows, now)
    if state == "updating":
        return rows.filter(pk__in=Update.objects.visible_to(user).active().values("device"))
    if state == "failed":
        return rows.filter(pk__in=Update.objects.visible_to(user).unmended().values("device"))
    if state == "ending":
        return rows.filter(pk__in=Certificate.objects.visible_to(user).ending(now).values("device"))
    return rows.filter(state=state) if state in Device.State.values else rows


def silent(rows: DeviceQuerySet, now: datetime) -> DeviceQuerySet:
    """Those that count as online and were not heard for longer than their type allows.

    No type allows less than the least: with that the index tells them apart, and where all is well there are none.
    """
    least = DeviceType.objects.aggregate(least=Min("silence_seconds"))["least"] or 0
    online = rows.filter(
        state=Device.State.ACTIVE,
        presence__online=True,
        presence__last_seen_at__lt=now - timedelta(seconds=least),
    )
    allowed = Func(F("device_type__silence_seconds"), template="make_interval(secs => %(expressions)s)")
    return online.filter(presence__last_seen_at__lt=now - allowed)


def with_state(devices: DeviceQuerySet) -> DeviceQuerySet:
    """With what a row shows."""
    return devices.select_related("device_type", "site", "presence", "latest")


def shown(rows: Iterable[Device]) -> list[Device]:
    """Devices with `main`, the first metric of their newest reading or None, and `silent`."""
    devices, now = list(rows), timezone.now()
    schemas = {device.latest.schema_id for device in devices if hasattr(device, "latest")}
    metrics = Metric.objects.filter(schema_id__in=schemas).exclude(kind=Metric.Kind.TEXT).order_by("-position")
    first = {metric.schema_id: metric for metric in metrics}
    for device in devices:
        device.main = _main(getattr(device, "latest", None), first)  # type: ignore[attr-defined]
    return judged(devices, now)


def judged(rows: Iterable[Device], now: datetime) -> list[Device]:
    """Devices with `silent`."""
    devices = list(rows)
    for device in devices:
        device.silent = is_silent(device, now)  # type: ignore[attr-defined]
    return devices


def is_silent(device: Device, now: datetime) -> bool:
    """Not heard for longer than its type allows, and nobody has noticed yet."""
    return device.presence.is_silent(now, timedelta(seconds=device.device_type.silence_seconds))


def _main(latest: Latest | None, first: Mapping[int, Metric]) -> dict[str, Any] | None:
    metric = first.get(latest.schema_id) if latest else None
    if latest is None or metric is None:
        return None
    return {"label": metric.label, "unit": metric.unit, "kind": metric.kind, "value": next(iter(latest.metrics), None)}


def choices(user: Any) -> dict[str, Any]:
    """What can be chosen in the filters. Of large fleets, up to `KEPT_SECONDS` old; sites are what people just made."""
    told = for_a_moment("choices", user, KEPT_SECONDS, lambda: _choices(user))
    return told | {"sites": Site.objects.visible_to(user).order_by("name")[:500], "states": STATES}


def _choices(user: Any) -> tuple[dict[str, Any], int]:
    mine = Device.objects.visible_to(user)
    some = mine.order_by("name", "device_id")[:LOOKED_AT]
    tags: QuerySet[Any, Any] = Device.objects.filter(pk__in=some.values("pk")).order_by()
    versions = tags.exclude(presence__firmware_version="").values_list("presence__firmware_version", flat=True)
    words = tags.annotate(tag=Func(F("tags"), function="unnest")).values_list("tag", flat=True)
    told = {
        "types": list(DeviceType.objects.visible_to(user).values("slug", "name")),
        "tags": sorted(words.distinct()[:_OFFERED]),
        "versions": sorted(versions.distinct()[:_OFFERED]),
    }
    return told, mine.count()


def page_of(keys: Iterable[int], user: Any) -> list[Device]:
    """The devices of these keys in their order, with what a row shows.

    In two steps: with all that a row shows joined, PostgreSQL would put together every row before the page as well.
    """
    wanted = list(keys)
    rows = {row.pk: row for row in with_state(Device.objects.visible_to(user).filter(pk__in=wanted))}
    return shown(rows[pk] for pk in wanted if pk in rows)
