import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import OperationalError
from django.utils import timezone

from devices.models import Presence
from devices.registry import Incoming
from telemetry import ingest, payload
from telemetry.models import DeadLetter, Latest, Reading
from telemetry.models.reading import Flag
from tests.factories import DeviceFactory, SchemaFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(days):
    device = DeviceFactory()
    SchemaFactory(device_type=device.device_type)
    return device


def topic(device, channel="telemetry"):
    return f"/{device.tenant.slug}/{device.device_type.slug}/{device.device_id}/{channel}"


def envelope(**changes):
    return {
        "msg_id": str(uuid.uuid4()),
        "ts": timezone.now().isoformat(timespec="milliseconds"),
        "schema_version": 1,
        "values": {"temperature_c": 4.5},
    } | changes


def message(device, *envelopes, qos=1):
    body = envelopes[0] if len(envelopes) == 1 else list(envelopes)
    return Incoming(topic(device), json.dumps(body).encode(), qos)


def test_stores_a_reading_in_schema_order(device):
    outcome = ingest.store_batch(
        [message(device, envelope(values={"humidity_pct": 50, "temperature_c": 4.5, "note": "x"}))]
    )
    row = Reading.objects.get()
    assert (row.metrics, row.extra) == ([4.5, 50.0, None], {"note": "x"})
    assert outcome.stored == 1
    assert Latest.objects.get().metrics == row.metrics


def test_stores_a_repeated_message_once_and_settles_it_again(device):
    once = message(device, envelope())
    first, second = ingest.store_batch([once, once]), ingest.store_batch([once])
    assert (first.stored, first.duplicates, second.stored, second.duplicates) == (1, 1, 0, 1)
    assert Reading.objects.count() == 1
    assert [len(answer.stored) for answer in second.settled.values()] == [1]


def test_a_bad_message_never_rejects_its_neighbours(device):
    good = envelope()
    bad = envelope(values={"temperature_c": 400})
    outcome = ingest.store_batch([message(device, good, bad), Incoming(topic(device), b"\xff\x00garbage", 1)])
    assert [str(row.msg_id) for row in Reading.objects.all()] == [good["msg_id"]]
    letters = {letter.reason: letter for letter in DeadLetter.objects.all()}
    assert letters["schema"].path == "$.values.temperature_c"
    assert json.loads(letters["schema"].payload)["msg_id"] == bad["msg_id"]
    assert "encoding" in letters
    (answer,) = outcome.settled.values()
    assert [str(each) for each in answer.stored] == [good["msg_id"]]
    assert [(str(each.msg_id), each.reason) for each in answer.refused] == [(bad["msg_id"], "schema")]


def test_the_oldest_day_is_whole_and_what_is_older_is_refused(device, settings):
    """Days are UTC, as partitions are."""
    settings.HOT_DAYS = 10
    with time_machine.travel(datetime(2026, 3, 20, 23, 59, tzinfo=UTC), tick=False):
        first, before = datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 9, 23, 59, 59, 999000, tzinfo=UTC)
        outcome = ingest.store_batch([message(device, envelope(ts=ts.isoformat())) for ts in (first, before)])
    assert Reading.objects.get().ts == first
    assert [(each.reason, each.path) for each in outcome.refused] == [("ts_old", "$.ts")]


def test_an_error_in_the_word_about_clocks_does_not_undo_what_is_stored(device, monkeypatch):
    def away(_):
        raise OperationalError("away")

    monkeypatch.setattr(ingest.clocks, "told", away)
    ahead = (timezone.now() + timedelta(hours=1)).isoformat(timespec="milliseconds")
    outcome = ingest.store_batch([message(device, envelope(ts=ahead))])
    assert (outcome.stored, len(outcome.settled)) == (1, 1)


def test_an_envelope_that_json_cannot_say_is_kept_as_it_came(device):
    came = message(device, envelope())
    odd = payload.Message(uuid.uuid4(), timezone.now(), 1, {"a": 10**5000})
    assert ingest._alone(came, odd) == came


def test_a_letter_of_a_topic_that_is_none_names_the_device_in_it(device):
    assert ingest.store_batch([Incoming(f"/UPPER/y/{device.device_id}/telemetry", b"{}", 1)]).refused
    assert DeadLetter.objects.values_list("reason", "device").get() == ("topic", device.pk)


def test_what_came_at_qos_0_is_stored_and_nobody_is_told(device):
    outcome = ingest.store_batch([message(device, envelope(), envelope(values={}), qos=0)])
    assert (outcome.stored, len(outcome.refused), outcome.settled) == (1, 1, {})


def test_messages_taken_in_again_are_as_of_their_first_coming_and_touch_nothing_else(device):
    then = timezone.now() - timedelta(days=2)
    seen = Presence.objects.filter(device=device).values().get()
    fast = message(device, envelope(ts=(then + timedelta(hours=2)).isoformat(timespec="milliseconds")))
    faster = message(device, envelope(ts=(then + timedelta(hours=25)).isoformat(timespec="milliseconds")))
    array = message(device, envelope(), envelope(values={"temperature_c": 400}), envelope(values={}))
    messages, received = [fast, Incoming("nonsense", b"", 1), faster, array], [then, then, then, timezone.now()]
    first, second = ingest.store_again(messages, received), ingest.store_again(messages, received)
    assert (first.stored, first.duplicates, second.stored, second.duplicates) == (2, 0, 0, 2)
    for outcome in (first, second):
        assert [each.reason for each in outcome.refused] == ["topic", "ts_ahead", "schema", "schema"]
        assert outcome.refused_at == [1, 2, 3, 3]
    assert set(Reading.objects.filter(received_at=then).values_list("flags", flat=True)) == {Flag.CLOCK_SUSPECT}
    assert Reading.objects.count() == 2
    assert not DeadLetter.objects.exists()
    assert Presence.objects.filter(device=device).values().get() == seen
