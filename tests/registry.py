"""`python -m tests.registry '{"name": …, "count": …}'` in a portal's environment: many rows, and a campaign over them.

The devices are told to be online; who speaks for them is tests/reporters.py. The campaign goes the whole way: written,
submitted, approved by somebody else; `'{"start": 7}'` starts it. Prints one line of JSON.
"""

import json
import os
import sys
import time
from datetime import timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402 (Django had to be set up)
from django.utils import timezone  # noqa: E402

from devices.models import Device, DeviceType, Presence, Tenant  # noqa: E402
from firmware import campaigns  # noqa: E402
from firmware.models import Campaign, Release, Stage  # noqa: E402
from tests.firmware import fleet  # noqa: E402
from tests.reporters import FIRST_BOOT, FIRST_SESSION, FIRST_VERSION  # noqa: E402

AFTER = "2.0.0"
_BATCH = 5000


def devices(name: str, count: int) -> DeviceType:
    """So many active devices that are online, of a tenant and a type of their own."""
    tenant = Tenant.objects.create(slug=name, name=name)
    # None of them falls silent: what they would say meanwhile is not what this is about.
    device_type = DeviceType.objects.create(slug=name, name=name, silence_seconds=10**6, synthetic=True)
    now = timezone.now()
    for start in range(0, count, _BATCH):
        rows = Device.objects.bulk_create(
            Device(
                device_id=f"d-{name}-{number}", hardware_id=f"{name}-{number}", tenant=tenant,
                device_type=device_type, state=Device.State.ACTIVE,
            )
            for number in range(start, min(start + _BATCH, count))
        )  # fmt: skip
        Presence.objects.bulk_create(
            Presence(
                device=row, online=True, session=FIRST_SESSION, boot_id=f"boot-{FIRST_BOOT}",
                firmware_version=FIRST_VERSION, changed_at=now, last_seen_at=now,
            )
            for row in rows
        )  # fmt: skip
    return device_type


def campaign(name: str, release: Release, percents: list[int], verify_s: float, **fields: Any) -> Campaign:
    """A campaign for the release, approved by somebody else."""
    author, approver = (User.objects.create(username=f"{who}-{name}", is_staff=True) for who in ("writes", "approves"))
    row = Campaign.objects.create(
        name=name, release=release, author=author, verify_time=timedelta(seconds=verify_s),
        reboot_jitter=timedelta(0), **fields,
    )  # fmt: skip
    Stage.objects.bulk_create(
        Stage(campaign=row, number=number, percent=percent, soak=timedelta(0))
        for number, percent in enumerate(percents, 1)
    )
    campaigns.submit(row, author, timezone.now())
    campaigns.approve(row, approver, timezone.now())
    return row


def make(name: str, count: int, percents: list[int], verify_s: float, fields: dict[str, Any]) -> dict[str, Any]:
    """Devices, and a campaign that only has to be started."""
    began = time.monotonic()
    device_type = devices(name, count)
    fleet.release(FIRST_VERSION, device_type, key=name)
    release = fleet.release(AFTER, device_type, key=name)
    row = campaign(name, release, percents, verify_s, **fields)
    return {"campaign": row.pk, "prefix": f"/{name}/{name}", "made_s": time.monotonic() - began}


def start(pk: int) -> dict[str, Any]:
    """Start it: every device gets its row."""
    row = Campaign.objects.get(pk=pk)
    began = time.monotonic()
    campaigns.start(row, row.approved_by, timezone.now())
    return {"planned_s": time.monotonic() - began}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    answer = start(asked["start"]) if "start" in asked else make(**asked)
    sys.stdout.write(json.dumps(answer) + "\n")
