"""From the broker to the rows and back: the timetable with a real session."""

import json
import uuid
from contextlib import contextmanager

import pytest
from django.core.cache import cache
from django.db import DataError
from django.utils import timezone

import firmware.tasks
from devices import contract
from devices.models import Device, Presence
from devices.registry import Incoming
from firmware.models import Update
from fleetportal import mqtt
from fleetportal.bootstep import Pump, heartbeat_key
from fleetportal.mqtt import Rooms
from fleetportal.slots import CONTROL
from telemetry.models import DeadLetter, Reading
from telemetry.tables import partitions
from tests.devices import peers
from tests.factories import DeviceFactory, SchemaFactory
from tests.firmware import fleet
from tests.telemetry.messages import envelope

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ca", "mosquitto_server")]


@contextmanager
def pump():
    """A worker's pump, serving every slot."""
    made = Pump()
    made.start()
    try:
        peers.eventually(lambda: len(made.sessions) == 3 and all(each.connected for each in made.sessions.values()))
        yield made
    finally:
        made.stop()


def birth(session, state="online"):
    return json.dumps({"state": state, "session": session, "boot_id": "b", "ts": 0}).encode()


def test_a_devices_words_become_rows_and_it_hears_what_is_settled(tmp_path):
    partitions.make_ahead(timezone.now())
    identity = peers.enrolled(tmp_path)
    row = Device.objects.select_related("device_type").get(device_id=identity.device_id)
    SchemaFactory(device_type=row.device_type)
    good, bad = envelope(), envelope(values={"temperature_c": 400})
    with pump() as running, peers.device(identity) as device:
        device.subscribe(identity.topic("telemetry/stored"))

        def online():
            device.publish(identity.topic("status"), birth(1))
            return Presence.objects.filter(device=row, online=True).exists()

        peers.eventually(online)

        def settled():
            device.publish(identity.topic("telemetry"), json.dumps([good, bad]).encode())  # as an outbox resends
            return device.received

        peers.eventually(settled)
        answer = json.loads(device.received[0][1])
        assert set(answer["stored"]) == {good["msg_id"]}
        assert {(each["msg_id"], each["reason"]) for each in answer["refused"]} == {(bad["msg_id"], "schema")}
        device.publish(identity.topic("status"), birth(1, "offline"))
        peers.eventually(lambda: not Presence.objects.get(device=row).online)
        peers.eventually(lambda: all(cache.get(heartbeat_key(slot)) for slot in running.sessions))
    assert Reading.objects.count() == 1
    assert DeadLetter.objects.get().reason == "schema"
    assert running.sessions == {}


def test_a_devices_reports_move_its_update_and_have_its_campaign_looked_at(tmp_path, monkeypatch):
    identity = peers.enrolled(tmp_path)
    row = Device.objects.get(device_id=identity.device_id)
    made = fleet.release("2.0.0", row.device_type)
    (update,) = fleet.offered(fleet.campaign(made), [row])
    asked = []
    monkeypatch.setattr(firmware.tasks.advance, "apply_async", lambda args, **_: asked.append(args[0]))
    born = contract.Status(contract.State.ONLINE, 5, fleet.NEXT_BOOT, 0, firmware_version="2.0.0")
    with pump(), peers.device(identity) as device:
        for each in fleet.story(update, fleet.STORY[:5]):
            device.publish(identity.topic("update_status"), contract.encode(each))
        device.publish(identity.topic("status"), contract.encode(born))
        peers.eventually(lambda: Update.objects.get(pk=update.pk).state == "verifying")
        peers.eventually(lambda: asked, what="a look at the campaign")
    assert set(asked) == {update.campaign_id}
    assert list(update.reports.values_list("state", flat=True)) == list(fleet.STORY[:5])
    assert not DeadLetter.objects.exists()


def test_a_worker_that_stops_leaves_its_slots_and_the_next_takes_over_what_waits(tmp_path):
    partitions.make_ahead(timezone.now())
    identity = peers.enrolled(tmp_path)
    SchemaFactory(device_type=Device.objects.get(device_id=identity.device_id).device_type)
    with pump():
        pass
    told = [envelope() for _ in range(20)]
    with peers.device(identity) as device:
        for each in told:
            device.publish(identity.topic("telemetry"), json.dumps(each).encode())
    with pump():
        peers.eventually(lambda: Reading.objects.count() == 20)
    assert {str(each) for each in Reading.objects.values_list("msg_id", flat=True)} == {each["msg_id"] for each in told}


def test_the_control_slot_listens_to_everything_but_telemetry(settings):
    own = [*contract.broker_log_filters(), *contract.BROKER_FIGURES]
    assert mqtt.filters(CONTROL) == [*contract.control_filters(), *own]
    assert mqtt.filters(1) == mqtt.filters(2) == contract.telemetry_filters(settings.MQTT_INGEST_GROUP)


def test_a_message_no_room_could_take_is_a_dead_letter():
    device = DeviceFactory()
    for device_id, known in ((uuid.uuid4().hex, None), (device.device_id, device)):
        message = Incoming(f"/t/y/{device_id}/telemetry", b"\xffodd", 1)
        Rooms().refuse(message, DataError("no such number"))
        letter = DeadLetter.objects.get(reason="unstorable", device=known)
        assert (bytes(letter.payload), letter.topic) == (message.payload, message.topic)
        assert letter.detail == "DataError: no such number"


def test_refused_words_on_the_control_line_are_dead_letters_and_their_neighbours_are_taken(tmp_path):
    identity = peers.enrolled(tmp_path)
    batch = [
        Incoming(identity.topic("status"), b"garbage", 1),
        Incoming(identity.topic("status"), birth(3), 1),
        Incoming("nonsense", b"", 1),
    ]
    Rooms().take(CONTROL, batch)
    assert set(DeadLetter.objects.values_list("reason", flat=True)) == {"encoding", "topic"}
    assert Presence.objects.get(device__device_id=identity.device_id).session == 3
