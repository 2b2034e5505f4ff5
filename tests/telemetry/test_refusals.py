"""Why a telemetry message is not stored, and what the device hears of it."""

import json
import uuid
from datetime import timedelta

import cbor2
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.models import Device, Finding
from devices.registry import Incoming
from telemetry import ingest
from telemetry.models import DeadLetter, Latest, Reading
from telemetry.models.reading import Flag
from tests.devices.hostile import CORPUS
from tests.factories import DeviceFactory, SchemaFactory, TenantFactory
from tests.telemetry.messages import envelope, message, topic

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(days):
    device = DeviceFactory()
    SchemaFactory(device_type=device.device_type)
    return device


def refused(*messages):
    """Reasons of what was refused; nothing was stored."""
    outcome = ingest.store_batch(list(messages))
    assert not Reading.objects.exists()
    assert set(DeadLetter.objects.values_list("reason", flat=True)) == {item.reason for item in outcome.refused}
    return [item.reason for item in outcome.refused]


def later(**ahead):
    return (timezone.now() + timedelta(**ahead)).isoformat(timespec="milliseconds")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"values": {}}, "schema"),
        ({"values": {"temperature_c": 81}}, "schema"),
        ({"values": {"temperature_c": 1, "unnamed": 1}}, "schema"),
        ({"ts": "noon"}, "timestamp"),
        ({"ts": 0}, "ts_old"),
        ({"msg_id": "1"}, "field"),
        ({"values": {"temperature_c": 1, "note": "a\0b"}}, "nul"),
    ],
)
def test_a_message_is_refused_with_a_reason_that_the_device_hears(device, changes, reason):
    told = envelope(**changes)
    outcome = ingest.store_batch([message(device, told)])
    assert [item.reason for item in outcome.refused] == [reason]
    if reason != "nul" and changes.get("msg_id") is None:
        ((answer_topic, answer),) = outcome.settled.items()
        assert str(answer_topic) == topic(device, "telemetry/stored")
        assert [(str(each.msg_id), each.reason) for each in answer.refused] == [(told["msg_id"], reason)]
        assert answer.stored == []
    assert DeadLetter.objects.get().device == device


def test_a_clock_a_day_ahead_is_the_limit_and_a_minute_is_suspect(device):
    ingest.store_batch([message(device, envelope(ts=later(seconds=30))), message(device, envelope(ts=later(hours=23)))])
    assert sorted(Reading.objects.values_list("flags", flat=True)) == [0, Flag.CLOCK_SUSPECT]
    outcome = ingest.store_batch([message(device, envelope(ts=later(hours=25)))])
    assert [item.reason for item in outcome.refused] == ["ts_ahead"]


def test_a_reading_older_than_the_hot_days_is_refused(device, settings):
    settings.HOT_DAYS = 10
    ingest.store_batch([message(device, envelope(ts=later(days=-9)))])
    assert Reading.objects.count() == 1
    outcome = ingest.store_batch([message(device, envelope(ts=later(days=-11)))])
    assert [item.reason for item in outcome.refused] == ["ts_old"]


def test_an_unknown_device_and_a_foreign_topic_are_refused(device):
    assert refused(
        Incoming("/t/y/d-nobody/telemetry", json.dumps(envelope()).encode(), 1), Incoming("nonsense", b"{}", 1)
    ) == ["unknown_device", "topic"]


def test_another_tenant_or_type_in_the_topic_is_refused_and_found_out(device):
    body = json.dumps(envelope()).encode()
    foreign = TenantFactory()
    wrong = [
        Incoming(f"/{foreign.slug}/{device.device_type.slug}/{device.device_id}/telemetry", body, 1),
        Incoming(f"/{device.tenant.slug}/other/{device.device_id}/telemetry", body, 1),
    ]
    assert refused(*wrong) == ["topic_mismatch"] * 2
    finding = Finding.objects.get()
    assert (finding.kind, finding.device, finding.count) == ("topic_mismatch", device, 2)


def test_a_gateway_cannot_store_for_a_child_that_is_not_registered_under_it(device):
    assert refused(message(device, envelope(), child="d-child")) == ["unknown_child"]


@pytest.mark.parametrize(("state", "reason"), [("quarantined", "quarantined"), ("decommissioned", "decommissioned")])
def test_a_device_out_of_service_stores_nothing(device, state, reason):
    Device.objects.update(state=state)
    assert refused(message(device, envelope())) == [reason]
    assert not Latest.objects.exists()


@pytest.mark.parametrize("name", CORPUS)
def test_garbage_is_refused_while_its_neighbours_are_stored(device, name):
    good = [message(device, envelope()), message(device, envelope())]
    outcome = ingest.store_batch([good[0], Incoming(topic(device), CORPUS[name], 1), good[1]])
    assert outcome.stored == Reading.objects.count() == 2
    assert outcome.refused
    assert all(item.reason and item.detail and item.device_pk == device.pk for item in outcome.refused)
    assert DeadLetter.objects.count() == len({item.reason for item in outcome.refused})


@pytest.mark.parametrize("levels", [20, 300, 900])
def test_deep_json_is_refused_and_its_device_hears_of_it(device, levels):
    """Also in an open schema: who reads it back has less of a stack."""
    SchemaFactory(device_type=device.device_type, version=2, open=True)
    told = envelope(schema_version=2, values={"temperature_c": 1, "x": json.loads("[" * levels + "]" * levels)})
    outcome = ingest.store_batch([message(device, envelope()), message(device, told)])
    assert (outcome.stored, [item.reason for item in outcome.refused]) == (1, ["encoding"])
    (answer,) = outcome.settled.values()
    assert [str(each.msg_id) for each in answer.refused] == [told["msg_id"]]


def test_only_what_came_at_qos_1_is_settled(device):
    one, zero = envelope(), envelope()
    outcome = ingest.store_batch(
        [message(device, one), message(device, zero, qos=0), message(device, envelope(ts=0), qos=0)]
    )
    assert (outcome.stored, len(outcome.refused)) == (2, 1)
    (answer,) = outcome.settled.values()
    assert ([str(each) for each in answer.stored], answer.refused) == ([one["msg_id"]], [])


def test_what_is_settled_is_told_to_each_device_about_its_own(device):
    other = DeviceFactory(device_type=device.device_type)
    mine, theirs = [envelope(), envelope()], [envelope(), envelope(ts=0)]
    outcome = ingest.store_batch([message(device, *mine), message(other, *theirs)])
    told = {str(where): answer for where, answer in outcome.settled.items()}
    assert set(told) == {topic(device, "telemetry/stored"), topic(other, "telemetry/stored")}
    assert {str(each) for each in told[topic(device, "telemetry/stored")].stored} == {each["msg_id"] for each in mine}
    answer = told[topic(other, "telemetry/stored")]
    assert [str(each) for each in answer.stored] == [theirs[0]["msg_id"]]
    assert [str(each.msg_id) for each in answer.refused] == [theirs[1]["msg_id"]]


def test_a_dead_letter_of_an_array_holds_the_spoilt_envelope_alone(device):
    bad = [envelope(schema_version=9), envelope(values={"temperature_c": "x"}), envelope(ts="x")]
    ingest.store_batch([message(device, envelope(), *bad)])
    letters = {json.loads(bytes(letter.payload))["msg_id"] for letter in DeadLetter.objects.all()}
    assert letters == {each["msg_id"] for each in bad}


def test_the_newest_of_a_batch_is_shown_however_it_is_ordered(device):
    old, new = envelope(ts=later(minutes=-2)), envelope(values={"temperature_c": 9})
    outcome = ingest.store_batch([message(device, new), message(device, old)])
    assert outcome.newest[device.device_id].metrics[0] == 9.0
    assert Latest.objects.get().metrics[0] == 9.0


def test_late_readings_do_not_become_the_latest(device):
    ingest.store_batch([message(device, envelope(values={"temperature_c": 9}))])
    ingest.store_batch([message(device, envelope(ts=later(hours=-1), values={"temperature_c": 1}))])
    assert Latest.objects.get().metrics[0] == 9.0
    assert Reading.objects.count() == 2


def test_nothing_is_half_stored_when_the_batch_fails(device, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(ingest.deadletters, "keep", fail)
    with pytest.raises(ZeroDivisionError):
        ingest.store_batch([message(device, envelope()), message(device, envelope(ts=0))])
    assert not Reading.objects.exists()
    assert not Latest.objects.exists()


wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.sampled_from(["temperature_c", "note", "x"]), wild), as_cbor=st.booleans())
def test_any_values_under_an_open_schema_are_stored_or_refused(device, values, as_cbor):
    """What passes our checks must be accepted by the database, too."""
    kind = device.device_type
    if not kind.schemas.filter(version=2).exists():
        SchemaFactory(device_type=kind, version=2, open=True)
    told = envelope(schema_version=2, values=values, msg_id=str(uuid.uuid4()))
    try:
        body = cbor2.dumps(told) if as_cbor else json.dumps(told).encode()
    except UnicodeEncodeError:
        return
    outcome = ingest.store_batch([Incoming(topic(device), body, 1)])
    assert outcome.stored + len(outcome.refused) == 1
