"""Reports from the MQTT door to the rows: what is taken, what is refused and why, and what a batch sets going."""

import json
import uuid

import pytest
from django.core.cache.backends.redis import RedisCache
from django.db import transaction

from devices import contract
from devices.models import Device, Presence
from devices.registry import Incoming
from firmware import ingest, tasks, updates
from firmware.models import Report, Update
from fleetportal import advances
from fleetportal.mqtt import Rooms
from fleetportal.slots import CONTROL
from telemetry.models import DeadLetter
from tests.devices.hostile import CORPUS
from tests.firmware import fleet
from tests.firmware.fleet import NEXT_BOOT, NOW, STORY, report

pytestmark = pytest.mark.django_db


@pytest.fixture
def update():
    return fleet.rollout()[0]


def message(row, body, channel="update_status"):
    device = row.device
    topic = contract.Topic(device.tenant.slug, device.device_type.slug, device.device_id, channel)
    payload = body if isinstance(body, bytes) else contract.encode(body)
    return Incoming(str(topic), payload, 1, retained=channel == "update_status")


def birth(row, version, session=2, boot=NEXT_BOOT):
    status = contract.Status(contract.State.ONLINE, session, boot, 0, firmware_version=version)
    return message(row, status, "status")


def take(*messages):
    refused, changed = ingest.store_batch(list(messages), NOW)
    return [each.reason for each in refused], changed


def the(row):
    return Update.objects.get(pk=row.pk)


def test_reports_are_taken_in_order(update):
    assert take(*(message(update, each) for each in fleet.story(update))) == ([], {update.campaign_id})
    assert the(update).state == "verifying"


@pytest.mark.parametrize("name", CORPUS)
def test_garbage_is_refused_with_a_reason_while_its_neighbours_are_stored(update, name):
    neighbours = [message(update, each) for each in fleet.story(update)[:2]]
    bad = message(update, CORPUS[name])
    refused, _ = ingest.store_batch([neighbours[0], bad, neighbours[1]], NOW)
    assert the(update).state == "downloading"
    if CORPUS[name]:
        assert [(each.message, each.device_pk) for each in refused] == [(bad, update.device_id)]
        assert refused[0].reason and refused[0].detail
    else:  # the retained report was deleted
        assert refused == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"update_id": str(uuid.uuid4())}, "unknown_update"),
        ({"update_id": "17"}, "field"),
        ({"state": "dancing"}, "unknown_state"),
        ({"attempt": 2**15}, "field"),
        ({"attempt": -1}, "field"),
        ({"seq": 2**53 + 1}, "field"),
        ({"seq": "1"}, "field"),
        ({"progress": 101}, "field"),
        ({"reason_code": "x" * 101}, "field"),
        ({"boot_id": "a\0b"}, "nul"),
    ],
    ids=range(10),
)
def test_what_a_report_must_not_say(update, changes, reason):
    body = json.loads(contract.encode(report(update, "downloading", 1, progress=3))) | changes
    assert take(message(update, json.dumps(body).encode())) == ([reason], set())
    assert the(update).state == "notified" and not Report.objects.exists()


@pytest.mark.parametrize("seq", [0, 2**53])
def test_the_largest_and_least_numbers_fit(update, seq):
    assert take(message(update, report(update, "downloading", seq)))[0] == []
    assert take(message(update, report(update, "downloading", seq, attempt=2**15 - 1)))[0] == []
    assert the(update).seq == seq


def test_anothers_update_is_unknown_to_a_device(update):
    (stranger,) = fleet.rollout()
    assert take(message(stranger, report(update, "failed", 3))) == (["unknown_update"], set())
    assert the(update).state == "notified"


@pytest.mark.parametrize("state", ["quarantined", "decommissioned"])
def test_a_device_is_heard_as_its_state_allows(update, state):
    Device.objects.update(state=state)
    assert take(message(update, report(update, "downloading", 1))) == ([state], set())


def test_a_topic_that_is_not_the_devices_is_refused(update):
    body = contract.encode(report(update, "downloading", 1))
    topics = ["/a/b/d-nobody/update_status", "x/update_status", message(update, b"").topic.replace("/type", "/types")]
    assert take(*(Incoming(topic, body, 1) for topic in topics))[0] == ["unknown_device", "topic", "topic_mismatch"]


def test_a_row_the_database_refuses_does_not_take_its_neighbours_with_it(update, monkeypatch):
    (poisoned,) = fleet.rollout()
    write = updates.moving.write

    def refuse(rows, *args):
        for row in rows:
            row.reason_code = "\0" if row.pk == poisoned.pk else row.reason_code
        write(rows, *args)

    monkeypatch.setattr(updates.moving, "write", refuse)
    told = [message(row, report(row, "downloading", 1)) for row in (update, poisoned)]
    assert take(*told) == (["unstorable"], {update.campaign_id})
    assert (the(update).state, the(poisoned).state) == ("downloading", "notified")


class TestTheControlLine:
    """Births and reports of one batch, through the whole of the timetable."""

    @pytest.fixture
    def rooms(self, django_capture_on_commit_callbacks):
        rooms = Rooms()

        def take(*messages):
            with django_capture_on_commit_callbacks(execute=True):
                rooms.take(CONTROL, list(messages))

        rooms.say = take
        return rooms

    @pytest.mark.parametrize("first", [True, False], ids=["birth first", "birth last"])
    def test_a_birth_and_the_reports_around_it_lead_to_one_end(self, update, rooms, first):
        told = [message(update, each) for each in fleet.story(update)]
        born = birth(update, "2.0.0")
        rooms.say(*([born, *told] if first else [*told, born]))
        assert (the(update).state, the(update).boot_id) == ("verifying", NEXT_BOOT)
        assert Presence.objects.get(device=update.device).firmware_version == "2.0.0"
        assert not DeadLetter.objects.exists()

    def test_a_birth_in_the_old_version_after_the_reboot(self, update, rooms):
        rooms.say(*(message(update, each) for each in fleet.story(update, STORY[:5])))
        rooms.say(birth(update, "1.0.0"))
        assert (the(update).state, the(update).reason_code) == ("rolled_back", "boot_failed")

    def test_refused_reports_are_dead_letters(self, update, rooms):
        rooms.say(message(update, b"garbage"), message(update, report(update, "downloading", 1)))
        assert DeadLetter.objects.get().reason == "encoding"
        assert the(update).state == "downloading"

    def test_campaigns_that_moved_are_looked_at_once_a_second(self, update, rooms, monkeypatch):
        asked = []
        monkeypatch.setattr(tasks.advance, "apply_async", lambda args, **_: asked.append(args[0]))
        rooms.say(message(update, report(update, "downloading", 1)))
        rooms.advances.nudge()
        rooms.say(message(update, report(update, "downloading", 2)))
        rooms.advances.nudge()
        assert asked == [update.campaign_id]

    def test_a_queue_that_is_away_stops_nothing(self, update, rooms, settings, monkeypatch):
        monkeypatch.setattr(advances, "cache", _away())
        rooms.say(message(update, report(update, "downloading", 1)))
        rooms.advances.nudge()
        assert the(update).state == "downloading"

    def test_the_batch_is_one_transaction(self, update, rooms, monkeypatch):
        monkeypatch.setattr(updates, "take", _broken)
        with pytest.raises(RuntimeError), transaction.atomic():
            rooms.take(CONTROL, [birth(update, "2.0.0"), message(update, report(update, "downloading", 1))])
        assert Presence.objects.get(device=update.device).session == 1


def _broken(*_):
    raise RuntimeError("killed here")


def _away():
    """A cache whose server nobody answers for."""
    return RedisCache("redis://127.0.0.1:1/0", {})
