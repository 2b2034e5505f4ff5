"""Ingestion with devices in memory, while they change: nothing is stored for one that is not what it was."""

import pytest
from django.db import IntegrityError

from devices import registry
from devices.models import Device, DeviceType, Presence, Tenant
from telemetry import ingest
from telemetry.models import DeadLetter, Latest, Reading
from tests.factories import DeviceFactory, SchemaFactory
from tests.fleetportal.workers import workers
from tests.telemetry.messages import envelope, message

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def device(days):
    """One that has spoken, so it is in memory."""
    device = DeviceFactory()
    SchemaFactory(device_type=device.device_type)
    assert ingest.store_batch([message(device, envelope())]).stored == 1
    return device


def forget_in_the_database(device):
    Latest.objects.filter(device=device).delete()
    Presence.objects.filter(device=device).delete()
    Device.objects.filter(pk=device.pk).delete()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda device: Device.objects.filter(pk=device.pk).update(state="quarantined"), "quarantined"),
        (lambda device: Device.objects.filter(pk=device.pk).update(state="decommissioned"), "decommissioned"),
        (lambda device: Tenant.objects.filter(pk=device.tenant_id).update(slug="renamed"), "topic_mismatch"),
        (lambda device: DeviceType.objects.filter(pk=device.device_type_id).update(slug="renamed"), "topic_mismatch"),
        (forget_in_the_database, "unknown_device"),
    ],
    ids=["quarantined", "decommissioned", "tenant renamed", "type renamed", "deleted"],
)
def test_what_another_process_changed_holds_for_the_next_batch(device, change, reason):
    with workers(1) as (other,):
        other(change, device)
    outcome = ingest.store_batch([message(device, envelope())])
    assert [refused.reason for refused in outcome.refused] == [reason]
    assert Reading.objects.count() == 1


def test_a_device_deleted_while_its_batch_is_stored_leaves_no_reading_and_is_unknown_when_the_batch_comes_again(
    device, monkeypatch
):
    look_up, batch = registry.look_up, [message(device, envelope()), message(DeviceFactory(), envelope())]

    def slowly(device_ids):
        known = look_up(device_ids)
        with workers(1) as (other,):
            other(forget_in_the_database, device)
        return known

    with monkeypatch.context() as patch:
        patch.setattr(registry, "look_up", slowly)
        with pytest.raises(IntegrityError):
            ingest.store_batch(batch)
    assert Reading.objects.count() == 1, "of before"
    outcome = ingest.store_batch(batch[:1])
    assert [refused.reason for refused in outcome.refused] == ["unknown_device"]
    assert DeadLetter.objects.filter(reason="unknown_device", device=None).count() == 1
