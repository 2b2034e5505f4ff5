import json
import uuid

import pytest
from django.utils import timezone

from devices.registry import Incoming
from telemetry import ingest
from telemetry.models import DeadLetter, Latest, Reading
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
