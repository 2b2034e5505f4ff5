"""After MQTT_SLOTS was lowered nothing is stranded: the extra sessions are emptied and ended."""

import pytest
from django.conf import settings

from fleetportal import retirement, slots
from fleetportal.pump import Session
from fleetportal.slots import Slots, client_id
from tests.devices import peers
from tests.fleetportal.pumping import Room, numbered, shared
from tests.fleetportal.workers import workers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ca", "mosquitto_server")]


@pytest.fixture
def holder():
    """A worker's locks."""
    held = Slots()
    held.refresh()
    yield held
    held.leave()


def open_slot(slot, line, room):
    session = Session(client_id(slot), line.filters, room.take, room.refuse)
    session.start()
    peers.eventually(lambda: session.connected, what="connected")
    return session


def test_what_waits_in_the_sessions_of_extra_slots_is_stored_and_they_leave_the_group(holder):
    line, room, late = shared(), Room(), Room()
    first = settings.MQTT_SLOTS + 1
    for session in [open_slot(slot, line, room) for slot in range(first, first + 2)]:
        session.stop()  # as a worker does that is stopped: the broker keeps the session, and its share
    with peers.portal() as publisher:
        for word in numbered(100):
            publisher.publish(line.topic, word)
        assert retirement.retire(holder, first, line.filters, late.take, late.refuse) == 2
        assert sorted(late.payloads()) == sorted(numbered(100))
        assert retirement.retire(holder, first, line.filters, late.take, late.refuse) == 0
        # Nobody is left in the group: what comes now waits for nobody, and a new member gets all of the rest.
        member = open_slot(first, line, room)
        for word in numbered(20, start=100):
            publisher.publish(line.topic, word)
        peers.eventually(lambda: len(room.taken) >= 20, what="all of the rest")
        member.stop()
        retirement.retire(holder, first, line.filters, late.take, late.refuse)


def test_a_slot_that_an_older_worker_still_runs_is_left_alone(holder):
    line, room = shared(), Room()
    first = settings.MQTT_SLOTS + 1
    with workers(1) as (older,):
        other = older(Slots)
        assert older(lambda: other.take_extra(first))
        assert retirement.retire(holder, first, line.filters, room.take, room.refuse) == 0
        older(lambda: other.release(first))
    assert slots.CONTROL in holder.held
