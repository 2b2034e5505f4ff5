"""The life of a finding after it was raised; what the audits do to it is in tests/operations/test_audits.py."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from devices import evidence, findings
from devices.auditing import Found
from devices.errors import DeviceError
from devices.models import Device, Event, Finding, Suppression
from tests.factories import DeviceFactory, DeviceTypeFactory, StaffFactory, TenantFactory

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def staff():
    return StaffFactory()


def suppress(staff, kind="flood", *, device=None, subject="", reason="known", until=DAY):
    now = timezone.now()
    return findings.suppress(
        kind, device=device, subject=subject, reason=reason, until=now + until, user=staff, now=now
    )


def test_it_is_resolved_once_and_this_is_evidence(staff):
    device = DeviceFactory()
    evidence.find("flood", "x", device_pk=device.pk, subject="s")
    row = Finding.objects.get()
    assert findings.resolve(row, "dried", staff, timezone.now())
    assert not findings.resolve(row, "again", staff, timezone.now())
    event = Event.objects.get(kind="finding.resolved")
    assert (event.user, event.device, event.reason) == (staff, device, "dried")
    assert event.detail == {"kind": "flood", "subject": "s"}


def test_suppressing_closes_what_is_open_and_nothing_else_and_both_are_evidence(staff):
    one, other = DeviceFactory(), DeviceFactory()
    for pk in (one.pk, other.pk):
        evidence.find("flood", "x", device_pk=pk)
        evidence.find("fire", "x", device_pk=pk)
    row = suppress(staff, device=one)
    left = Finding.objects.filter(resolved_at__isnull=True).values_list("kind", "device")
    assert set(left) == {("flood", other.pk), ("fire", one.pk), ("fire", other.pk)}
    assert (row.created_by, row.reason) == (staff, "known")
    made, closed = Event.objects.get(kind="finding.suppressed"), Event.objects.get(kind="finding.resolved")
    assert (made.user, made.device, made.reason) == (staff, one, "known")
    assert (closed.actor, closed.device, closed.tenant) == ("audit", one, one.tenant)
    assert closed.reason == f"Suppressed until {row.expires_at:%Y-%m-%d}: known"


@pytest.mark.parametrize("days", [-1, 0, 365.1, 9999])
def test_it_ends_in_the_future_and_within_a_year(staff, days):
    with pytest.raises(DeviceError) as refused:
        suppress(staff, until=days * DAY)
    assert refused.value.code == "suppression_end"
    assert not Suppression.objects.exists()


def test_it_has_a_reason(staff):
    with pytest.raises(DeviceError) as refused:
        suppress(staff, reason="  ")
    assert refused.value.code == "suppression_reason"


def test_it_can_be_ended_early_once_and_then_keeps_nothing_quiet(staff):
    row = suppress(staff)
    assert findings.end(row, "fixed", staff, timezone.now() - DAY)
    assert not findings.end(row, "again", staff, timezone.now())
    assert Event.objects.get(kind="suppression.ended").reason == "fixed"
    evidence.find("flood", "x")
    assert Finding.objects.filter(resolved_at__isnull=True).exists()


def test_observing_is_bounded_to_the_subjects_it_is_told():
    findings.observe(("a",), [Found("a", "x", subject=name) for name in "pqr"])
    assert findings.observe(("a",), [], subjects=["p"]) == (0, 1)
    assert set(Finding.objects.filter(resolved_at__isnull=True).values_list("subject", flat=True)) == {"q", "r"}


def test_texts_longer_than_their_columns_are_still_found_again():
    found = [Found("a", "d" * 600, subject="s" * 300)]
    assert findings.observe(("a",), found) == (1, 0)
    assert findings.observe(("a",), found) == (0, 0)


def test_ten_thousand_are_raised_seen_again_and_resolved_in_seconds():
    kind, tenant = DeviceTypeFactory(), TenantFactory()
    devices = Device.objects.bulk_create(
        Device(device_id=f"d-{n}", hardware_id=str(n), device_type=kind, tenant=tenant) for n in range(10_000)
    )
    found = [Found("a", "x", device_pk=device.pk) for device in devices]
    began = time.monotonic()
    assert findings.observe(("a",), found) == (10_000, 0)
    assert findings.observe(("a",), found) == (0, 0)
    assert findings.observe(("a",), []) == (0, 10_000)
    seconds = time.monotonic() - began
    print(f"10,000 findings: raised, seen again, resolved in {seconds:.2f} s")
    assert seconds < 20
