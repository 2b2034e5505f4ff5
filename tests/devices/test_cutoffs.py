"""The time from a click to the cut is kept, so that the promise of five seconds can be checked."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices import cutoffs, lifecycle, tasks
from devices.models import Device, Event
from tests.devices import peers
from tests.factories import DeviceFactory

pytestmark = pytest.mark.django_db


def test_the_seconds_since_the_decision_are_evidence_and_a_measure():
    device = DeviceFactory()
    lifecycle.quarantine(device, "odd", None)
    before = cutoffs.SECONDS._sum.get()
    seconds = cutoffs.note(device.device_id, timezone.now() + timedelta(seconds=2))
    assert seconds == pytest.approx(2, abs=0.5)
    event = Event.objects.get(kind="device.cut_off")
    assert event.detail == {"seconds": round(seconds, 3), "cause": "device.quarantined"}
    assert cutoffs.SECONDS._sum.get() - before == pytest.approx(seconds)


def test_a_cut_that_nobody_decided_lately_is_no_measure():
    device = DeviceFactory()
    lifecycle.quarantine(device, "odd", None)
    assert cutoffs.note(device.device_id, timezone.now() + timedelta(hours=2)) is None
    assert not Event.objects.filter(kind="device.cut_off").exists()


def test_shutting_out_leaves_it_behind(ca, tmp_path, mosquitto_server, monkeypatch):
    monkeypatch.setattr(tasks.cut, "apply_async", lambda *_, **__: None)  # the second cut is another task's business
    identity = peers.enrolled(tmp_path)
    device = Device.objects.get(device_id=identity.device_id)
    with peers.device(identity) as peer:
        lifecycle.quarantine(device, "odd", None)
        assert tasks.shut_out(device.device_id) is True
        peers.eventually(lambda: peer.ended, what="cut")
    assert Event.objects.get(kind="device.cut_off").detail["seconds"] < 5
