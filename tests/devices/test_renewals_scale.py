"""The rotation of a large fleet. `RENEWED_DEVICES=100000 pytest -n 0 -s` on this file tells the figures."""

import os
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from devices import certificates, renewals
from devices.models import Authority, Certificate, Device, Presence
from tests.factories import DeviceTypeFactory, TenantFactory

DEVICES = int(os.environ.get("RENEWED_DEVICES", "5000"))
NOW = timezone.now()
DAY = timedelta(days=1)


@pytest.fixture
def fleet(ca):
    """A tenth of the devices is due, the others are in three weeks."""
    tenant, kind, issuing = TenantFactory(), DeviceTypeFactory(), Authority.objects.get(kind="issuing")
    rows = [
        Device(device_id=f"d-{n}", tenant=tenant, device_type=kind, hardware_id=str(n), state="active")
        for n in range(DEVICES)
    ]
    Device.objects.bulk_create(rows, batch_size=5000)
    Presence.objects.bulk_create([Presence(device=row, online=True, session=1) for row in rows], batch_size=5000)
    Certificate.objects.bulk_create(
        [
            Certificate(
                device=row, authority=issuing, serial=f"{n:x}", fingerprint=f"{n:x}", key_fingerprint=f"{n:x}",
                subject="x", pem="x", not_before=NOW - DAY, not_after=NOW + 100 * DAY, state="active",
                renew_at=NOW - DAY if n % 10 == 0 else NOW + 20 * DAY, first_seen_at=NOW, last_seen_at=NOW,
            )
            for n, row in enumerate(rows)
        ],
        batch_size=5000,
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE devices_device, devices_certificate, devices_presence, devices_renewal")


def timed(what, work):
    began = time.monotonic()
    result = work()
    taken = time.monotonic() - began
    print(f"{what}: {taken:.2f} s")
    assert taken < 10
    return result


@pytest.mark.django_db
def test_a_large_fleet_is_rotated_in_seconds(fleet, settings):
    planned = timed(f"a tenth of {DEVICES} devices is planned, at most 5,000 a run", lambda: renewals.plan(NOW))
    assert planned == min(DEVICES // 10, 5000)
    while renewals.plan(NOW):
        pass
    assert timed("nobody else is due", lambda: renewals.plan(NOW)) == 0
    room = settings.RENEWALS_PER_MINUTE
    assert timed(f"{room} are asked", lambda: len(renewals.ask(NOW))) == min(room, DEVICES // 10)
    assert timed("the pace is full", lambda: len(renewals.ask(NOW))) == 0
    assert timed("nothing to retire", lambda: certificates.retire(NOW)) == 0
    assert timed("the dry run of a month", lambda: len(renewals.preview(NOW, 30 * DAY))) == 500
