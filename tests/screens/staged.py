"""`python -m tests.screens.staged` in a portal's environment: gives Acme's devices names, places and a past.

The simulated devices are called by their type, and have been there for a minute. Here the same instruments tell what
they would have measured in the week before, so that charts have something to show. Besides: a device that is away, one
that waits for a person, a renewal under way. Prints one line of JSON: keys of rows by the names under which addresses
ask for them.
"""

import json
import os
from datetime import datetime
from random import Random
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
django.setup()

from django.utils import timezone  # noqa: E402 (Django had to be set up)

from agent import instruments  # noqa: E402
from devices import enrollment, evidence  # noqa: E402 (Django had to be set up)
from devices.auditing import Found  # noqa: E402
from devices.models import Certificate, Device, Group, Presence, Site, Tenant  # noqa: E402
from telemetry.models import Metric, Reading, Schema  # noqa: E402
from telemetry.rolled import rollups  # noqa: E402
from tests.devices import identities, peers  # noqa: E402
from tests.telemetry.past import DAY, HOUR, MINUTE, SECOND, say  # noqa: E402

NAMES = {
    "freezer": "Freezer {}",
    "cold-logger": "Cold room {}",
    "energy-meter": "Meter, hall {}",
    "pump": "Glycol pump {}",
}
TAGS = {
    "freezer": ["haccp", "frozen"],
    "cold-logger": ["haccp"],
    "energy-meter": ["billing"],
    "pump": ["monthly-check"],
}
WEEK = 7 * DAY
AWAY = 40 * MINUTE
BACK_ROOM = "CL-2026-0077"
"""Hardware id of the one that is away."""
BENCH = "CL-2026-0481"
"""Of one whose probe is not plugged in."""


def main() -> dict[str, Any]:
    """All of it."""
    now = timezone.now()
    tenant = Tenant.objects.get(slug="acme-foods")
    devices = list(Device.objects.filter(tenant=tenant).select_related("device_type").order_by("hardware_id"))
    sites, pilot = list(Site.objects.filter(tenant=tenant).order_by("pk")), Group.objects.get(tenant=tenant)
    numbers: dict[str, int] = {}
    for device in devices:
        slug = kind_of(device)
        number = numbers[slug] = numbers.get(slug, -1) + 1
        name, tags = NAMES[slug].format(number + 1), TAGS[slug]
        if device.hardware_id == BENCH:
            name, tags = "Test bench", []
        Device.objects.filter(pk=device.pk).update(name=name, tags=tags, site=sites[number % len(sites)])
        if number < 3:
            device.groups.add(pilot)
    kind = devices[0].device_type
    claim, _ = identities.make_claim(tenant, kind, "Field service, autumn", now, max_devices=20)
    away = identities.join(claim, BACK_ROOM, now - 30 * DAY)
    Device.objects.filter(pk=away.pk).update(name="Freezer at the back", tags=["haccp"], site=sites[0])
    Presence.objects.update_or_create(
        device=away,
        defaults={"online": False, "last_seen_at": now - AWAY, "changed_at": now - AWAY + MINUTE, "rssi_dbm": -88,
                  "firmware_version": "1.0.0"},
    )  # fmt: skip
    by_hand, _ = identities.make_claim(tenant, kind, "Service van", now, approve_by_hand=True, max_devices=5)
    waiting = [
        enrollment.enroll(by_hand, kind.slug, number, peers.csr(None, number).encode(), now - ago * MINUTE)
        for number, ago in (("CL-2026-0113", 4), ("CL-2026-0112", 9))
    ]
    evidence.find_all(
        [
            Found("topic_mismatch", "It published under the name of another device.", "critical", away.pk),
            Found("unknown_child", "It speaks for a sensor nobody registered.", "warning", devices[3].pk, "probe-7"),
            Found("key_reused", "Its key was seen with another serial number.", "critical", devices[5].pk),
        ],
        again=1,
    )
    for device in [*devices, away]:
        first = Reading.objects.filter(device=device).order_by("ts").values_list("ts", flat=True).first()
        past(device, now - AWAY if device == away else (first or now) - 2 * SECOND)
    pks = [device.pk for device in [*devices, away]]
    for _ in rollups.recompute(pks, now - WEEK - HOUR, now - HOUR, now):
        pass
    return facts(tenant, waiting[-1].approval.pk)


def past(device: Device, until: datetime) -> None:
    """What its instrument would have measured: a reading in five minutes, the last ones as often as it speaks."""
    schema = Schema.objects.filter(device_type=device.device_type).latest("version")
    metrics = list(Metric.objects.filter(schema=schema).order_by("position").values_list("name", flat=True))
    seed = f"1/{device.hardware_id}"
    instrument, rng = instruments.make(device.device_type.slug, Random(seed)), Random(seed)
    told: list[tuple[datetime, float | list[float] | None]] = []
    at = until - WEEK
    while at < until:
        instrument, values = instrument.read(at.timestamp(), rng)
        told.append((at, [float(values[name]) for name in metrics]))
        left = until - at
        at += 5 * MINUTE if left > 3 * HOUR else 30 * SECOND if left > 20 * MINUTE else 2 * SECOND
    say(device, schema, told, received_at=until)


def kind_of(device: Device) -> str:
    """What a person would call it by: some loggers are in freezers, the others in cold rooms."""
    instrument = instruments.make(device.device_type.slug, Random(f"1/{device.hardware_id}"))
    return "freezer" if getattr(instrument, "setpoint", 0) < -10 else device.device_type.slug


def facts(tenant: Tenant, approval: int) -> dict[str, Any]:
    """What addresses are made of."""
    devices = Device.objects.filter(tenant=tenant)
    freezer, pump, meter = (devices.get(name=name) for name in ("Freezer 1", "Glycol pump 1", "Meter, hall 1"))
    newest = Schema.objects.filter(device_type=freezer.device_type).latest("version")
    return {
        "freezer": freezer.device_id,
        "freezer_pk": freezer.pk,
        "meter": meter.device_id,
        "pump": pump.device_id,
        "pump_pk": pump.pk,
        "away": devices.get(hardware_id=BACK_ROOM).device_id,
        "away_pk": devices.get(hardware_id=BACK_ROOM).pk,
        "certificate": Certificate.objects.filter(device=freezer).latest("pk").pk,
        "approval": approval,
        "schema": newest.pk,
        "tenant_pk": tenant.pk,
        "type_pk": freezer.device_type_id,
        "group": Group.objects.get(tenant=tenant).pk,
    }


if __name__ == "__main__":
    print(json.dumps(main()))
