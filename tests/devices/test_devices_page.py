"""docs/devices.md, command by command, with the clients it names."""

import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from devices import claims
from devices.models import Authority, Claim, Device
from tests.devices import peers
from tests.factories import DeviceTypeFactory

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ca", "mosquitto_server")
def test_the_commands_of_the_page_for_devices_work(https_door, tmp_path):
    kind = DeviceTypeFactory(slug="logger")
    token = peers.claim_token(device_type=kind)
    page = (ROOT / "docs/devices.md").read_text()
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    _, secret = claims.make_claim(
        tenant=claims.of_token(token).tenant, device_type=kind, name="c", max_devices=9, lifetime=timedelta(days=1),
        now=timezone.now(), kind="certificate",
    )  # fmt: skip
    (tmp_path / "claim.pem").write_text(secret)
    (tmp_path / "var").mkdir()
    told = {
        "ca_file": str(https_door.ca_file), "device_https_url": https_door.url, "claim_token": token,
        "device_type": kind.slug, "tenant": claims.of_token(token).tenant.slug,
        "mqtt_host": settings.DEVICE_MQTT_HOST, "mqtt_port": settings.DEVICE_MQTT_PORT,
    }  # fmt: skip
    (tmp_path / "var/run.json").write_text(json.dumps(told))
    authority = Authority.objects.get(kind="issuing").pk
    (tmp_path / "page.sh").write_text(f"AUTHORITY={authority}\n{script}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "page.sh"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert [line for line in said.splitlines() if line.endswith(": OK")] == [
        f"{name}.pem: OK" for name in ("third", "third-2", "fourth", "fifth")
    ]
    assert "Certificate Revocation List" in said
    assert set(Device.objects.values_list("hardware_id", flat=True)) == {
        f"my-{word}-device" for word in ("first", "second", "third", "fourth", "fifth")
    }
    third = Device.objects.get(hardware_id="my-third-device")
    assert list(third.certificates.order_by("pk").values_list("state", flat=True)) == ["active", "pending"]
    by_certificate = Device.objects.filter(claim__kind=Claim.Kind.CERTIFICATE).order_by("hardware_id")
    assert [device.hardware_id for device in by_certificate] == ["my-fourth-device", "my-second-device"]
