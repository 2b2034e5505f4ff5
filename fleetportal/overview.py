"""How a whole fleet is: the figures of customers' overview, and the devices that need a look with the reason."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q

from devices.models import Certificate, Device, Site
from devices.querysets import DeviceQuerySet
from firmware.models import Update
from fleetportal import device_rows
from fleetportal.kept import MANY, for_a_moment
from telemetry.models import Latest

FRESH = timedelta(minutes=2)
KEPT_SECONDS = 10
LISTED = 5
"""Devices that need a look, for each reason."""
FAILED_FOR = timedelta(days=14)
"""How long a failed update is shown; the list of devices finds it for as long as nothing else was offered."""
Look = tuple[int, str, datetime | None]
"""A device's key, why it needs a look (`failed`, `ending`; otherwise its state says it), and since or until when."""
SITES = 8
"""Sites that are listed; the list of devices knows the rest."""
Place = tuple[int, int, int, int]
"""A site's key, how many devices in service it has, and how many of them are online and offline."""


def figures(user: Any, now: datetime) -> dict[str, Any]:
    """Counts, and the keys of the devices to show. Those of large fleets are up to `KEPT_SECONDS` old."""

    def made() -> tuple[dict[str, Any], int]:
        told = _figures(user, now)
        return told, told["devices"]

    return for_a_moment("overview", user, KEPT_SECONDS, made)


def _figures(user: Any, now: datetime) -> dict[str, Any]:
    mine = Device.objects.visible_to(user).filter(state=Device.State.ACTIVE)
    counts = mine.aggregate(  # one look at all of them
        devices=Count("pk"),
        online=Count("pk", filter=Q(presence__online=True)),
        away=Count("pk", filter=Q(presence__online=False)),
    )
    few = counts["devices"] < MANY  # of many, the ten newest are others at each look and say nothing
    newest = mine.filter(latest__isnull=False).order_by("-latest__ts").values_list("pk", flat=True)[: 10 if few else 0]
    return {
        **counts,
        "fresh": Latest.objects.visible_to(user).filter(received_at__gte=now - FRESH).count(),
        "updating": Update.objects.visible_to(user).active().count(),
        **_looks(user, now),
        **_sites(mine),
        "newest": list(newest),
    }


def _sites(mine: DeviceQuerySet) -> dict[str, Any]:
    """Where the devices are, most offline first; `more_sites` are not listed, `more_away` of them have some offline."""
    told = (
        mine.filter(site__isnull=False)
        .values_list("site")
        .annotate(
            devices=Count("pk"),
            online=Count("pk", filter=Q(presence__online=True)),
            away=Count("pk", filter=Q(presence__online=False)),
        )
    )
    found: list[Place] = list(told.order_by("-away", "site__name", "site"))
    rest = found[SITES:]
    return {"sites": found[:SITES], "more_sites": len(rest), "more_away": sum(away > 0 for *_, away in rest)}


def places(sites: list[Place], user: Any) -> list[dict[str, Any]]:
    """Those of the sites that somebody may see, each with its figures."""
    rows = Site.objects.visible_to(user).select_related("tenant").in_bulk([pk for pk, *_ in sites])
    return [
        {"site": rows[pk], "devices": devices, "online": online, "away": away}
        for pk, devices, online, away in sites
        if pk in rows
    ]


def _looks(user: Any, now: datetime) -> dict[str, Any]:
    """The worst first, a device named once; and `more`: reasons for which more devices need a look than are listed."""
    everything, most = Device.objects.visible_to(user), LISTED + 1
    mine = everything.filter(state=Device.State.ACTIVE)
    quarantined = everything.filter(state=Device.State.QUARANTINED).order_by("name", "device_id")
    failed = Update.objects.visible_to(user).unmended().filter(ended_at__gte=now - FAILED_FOR)
    ending = Certificate.objects.visible_to(user).ending(now).filter(device__state=Device.State.ACTIVE)
    offline = mine.filter(presence__online=False).order_by("-presence__changed_at")
    silent = device_rows.silent(device_rows.with_state(mine), now).order_by("presence__last_seen_at")
    found: list[Look] = [
        *quarantined.values_list("pk", "state", "presence__changed_at")[:most],
        *((pk, "failed", at) for pk, at in failed.order_by("-ended_at").values_list("device_id", "ended_at")[:most]),
        *((pk, "ending", at) for pk, at in ending.order_by("not_after").values_list("device_id", "not_after")[:most]),
        *((pk, "offline", at) for pk, at in offline.values_list("pk", "presence__changed_at")[:most]),
        *((pk, "silent", at) for pk, at in silent.values_list("pk", "presence__last_seen_at")[:most]),
    ]
    first: dict[int, Look] = {}
    counted: Counter[str] = Counter()
    for look in found:
        counted[look[1]] += 1
        if counted[look[1]] <= LISTED:
            first.setdefault(look[0], look)
    return {"looks": list(first.values()), "more": [why for why, number in counted.items() if number > LISTED]}


def looked_at(looks: list[Look], rows: Mapping[int, Device], now: datetime) -> list[Device]:
    """The devices among `rows` that need a look, with `why` and `since`, and `silent`."""
    devices = []
    for pk, why, since in looks:
        if pk in rows:
            rows[pk].why, rows[pk].since = why, since  # type: ignore[attr-defined]
            devices.append(rows[pk])
    return device_rows.judged(devices, now)
