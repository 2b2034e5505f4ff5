"""A large fleet is audited in seconds. AUDITED_DEVICES=100000 measures what docs/performance.md tells."""

import os
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from devices.auditing import audits
from devices.models import Certificate, Device, Event, Presence
from operations.audits import run
from operations.models import CheckedKey

DEVICES = int(os.environ.get("AUDITED_DEVICES", "10100"))


@pytest.fixture
def fleet(certificate):
    """Devices with two certificates each; of every hundredth the newer one was never made. All came online just now."""
    first = certificate()
    device, now = first.device, timezone.now()
    devices = Device.objects.bulk_create(
        (
            Device(
                device_id=f"d-{n}", hardware_id=str(n), state="active", tenant_id=device.tenant_id,
                device_type_id=device.device_type_id,
            )
            for n in range(DEVICES)
        ),
        batch_size=5000,
    )  # fmt: skip
    Presence.objects.bulk_create((Presence(device=each, session=1, last_seen_at=now) for each in devices), 5000)

    def row(each, number, renew_at, not_after, state):
        unique = f"{each.pk:x}{number}"
        return Certificate(
            device=each, authority=first.authority, serial=unique, fingerprint=unique, key_fingerprint=unique,
            pem=first.pem, not_before=now - timedelta(days=200), renew_at=renew_at, not_after=not_after, state=state,
        )  # fmt: skip

    late, ending = now - timedelta(days=40), now + timedelta(days=60)
    Certificate.objects.bulk_create((row(each, 1, late, ending, "retiring") for each in devices), 5000)
    fresh = [each for number, each in enumerate(devices) if number % 100]
    new, year = now + timedelta(days=200), now + timedelta(days=365)
    Certificate.objects.bulk_create((row(each, 2, new, year, "active") for each in fresh), 5000)
    Event.objects.bulk_create(
        (Event(kind="device.online", at=now, device=each, actor="x", detail={"boot_id": "b"}) for each in devices), 5000
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


@pytest.mark.chaos
@pytest.mark.django_db
@pytest.mark.usefixtures("ca", "mosquitto_server", "fleet")
def test_a_large_fleet_is_audited_in_seconds():
    for word in ("first", "again", "a third time"):
        began = time.monotonic()
        ran = run(timezone.now())
        seconds = time.monotonic() - began
        print(f"\n{word}: {len(ran)} audits, {Certificate.objects.count()} certificates: {seconds:.1f} s")
        for each in sorted(ran, key=lambda each: -each.seconds)[:6]:
            print(f"  {each.name:<24} {each.seconds:.2f} s, {each.found} found")
    assert {each.state for each in ran} == {"done"}
    assert {each.name: each.found for each in ran}["certificates-expiring"] == DEVICES // 100
    assert CheckedKey.objects.count() == Certificate.objects.count()
    assert seconds < max(10, DEVICES / 2000)
    assert len(ran) == len(audits())
