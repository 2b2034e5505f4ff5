"""`python -m tests.crowd.registry '{"name": …, "count": …, "folder": …}'` in a portal's environment: many devices.

Of a tenant, a type and a schema of their own. Each has a key and a certificate of the portal's CA in `folder`, and
`folder/crowd.json` tells tests/crowd all it needs. Prints one line of JSON.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
django.setup()

from cryptography.hazmat.primitives import serialization  # noqa: E402 (Django had to be set up)
from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.db import transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from devices import certificates, pki, renewals  # noqa: E402
from devices.models import Device, DeviceType, Membership, Presence, Tenant  # noqa: E402
from telemetry.models import Metric, Schema  # noqa: E402
from tests.devices.peers import csr  # noqa: E402

METRICS = ("temperature_c", "humidity_pct", "battery_v", "pressure_hpa")


def make(name: str, count: int, folder: str, member: str = "", *, identities: bool = True) -> dict[str, Any]:
    """So many devices that were never online, with their files. `member`: a user who becomes a viewer of the tenant."""
    began, where = time.monotonic(), Path(folder)
    tenant = Tenant.objects.create(slug=name, name=name)
    device_type = DeviceType.objects.create(slug=name, name=name, synthetic=True)
    schema = Schema.objects.create(device_type=device_type, version=1)
    for position, metric in enumerate(METRICS):
        Metric.objects.create(schema=schema, position=position, name=metric, label=metric, required=False)
    if member:
        Membership.objects.create(tenant=tenant, user=User.objects.get(username=member), role=Membership.Role.VIEWER)
    with transaction.atomic():
        devices = Device.objects.bulk_create(Device(
            device_id=f"d-{name}-{number}", hardware_id=f"{name}-{number}", tenant=tenant, device_type=device_type,
            state=Device.State.ACTIVE,
        ) for number in range(count))  # fmt: skip
        Presence.objects.bulk_create(Presence(device=device) for device in devices)
        members = [_member(device, where) for device in devices] if identities else []
    crowd = {
        "host": settings.DEVICE_MQTT_HOST, "port": settings.DEVICE_MQTT_PORT, "prefix": f"/{name}/{name}",
        "members": members,
    }  # fmt: skip
    (where / "crowd.json").write_text(json.dumps(crowd))
    return {"made_s": time.monotonic() - began}


def _member(device: Device, folder: Path) -> dict[str, str]:
    key = pki.new_key()
    row = certificates.issue(device, pki.read_request(csr(key).encode()), timezone.now())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / f"{device.device_id}.pem"
    file.write_text(pem.decode() + row.pem + renewals.chain(row))
    return {"device_id": device.device_id, "file": file.name, "serial": row.serial}


if __name__ == "__main__":
    print(json.dumps(make(**json.loads(sys.argv[1]))))
