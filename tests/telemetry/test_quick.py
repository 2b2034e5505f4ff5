"""What is read in one go is what the careful way reads: every verdict and every value."""

import json
import uuid
from datetime import UTC, datetime

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.contract import MAX_ENVELOPES, MAX_PAYLOAD_BYTES, ContractError
from telemetry import payload
from telemetry.packing import Compiled
from telemetry.payload import Message
from telemetry.quick import Quick
from telemetry.schema.compatibility import BOOLEAN, INTEGER, NUMBER, TEXT, MetricSpec, Vocabulary

ID = uuid.UUID("0193a1b2-c3d4-8e5f-8a6b-7c8d9e0f1a2b")
MOMENT = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
VOCABULARY = Vocabulary((
    MetricSpec("temperature_c", NUMBER, minimum=-60, maximum=80, required=True),
    MetricSpec("note", TEXT),
    MetricSpec("class", INTEGER, minimum=0.5, maximum=10.5),
    MetricSpec("door_open", BOOLEAN),
    MetricSpec("load", NUMBER),
))  # fmt: skip
GOOD = {"msg_id": str(ID), "ts": 1772366400123, "schema_version": 2, "values": {"temperature_c": 4}}


def carefully(data, vocabulary, version):
    """What the careful way stores of a payload; None where it refuses any of it, or keeps more than numbers."""
    found = []
    for item in payload._any(data):
        if not isinstance(item, Message) or item.schema_version != version:
            return None
        try:
            numbers, extra = Compiled(vocabulary).pack(item.values)
        except ContractError:
            return None
        if extra is not None:
            return None
        found.append((item.msg_id, item.ts, numbers))
    return found


ranges = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-100, 100)
kinds = st.sampled_from([NUMBER, INTEGER, BOOLEAN, TEXT])


@st.composite
def vocabularies(draw):
    metrics = []
    for name in draw(st.lists(st.sampled_from(["a", "b", "class", "f0"]), unique=True, max_size=4)):
        low, high = sorted([draw(st.none() | ranges), draw(st.none() | ranges)], key=lambda each: each or 0)
        metrics.append(MetricSpec(name, draw(kinds), "", "", low, high, draw(st.booleans())))
    return Vocabulary(tuple(metrics), draw(st.booleans()))


numbers = (
    st.integers(-20, 20)
    | st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 10**30, 1e15, 1e16, 5.0, -0.0, 1e308])
    | st.floats()
    | st.integers()
)
values = st.dictionaries(
    st.sampled_from(["a", "b", "class", "f0", "other"]), numbers | st.booleans() | st.none() | st.text(max_size=3)
)
envelopes = st.fixed_dictionaries(
    {
        "msg_id": st.uuids().map(str),
        "ts": st.integers(0, 10**14) | st.datetimes(timezones=st.timezones()).map(lambda each: each.isoformat()),
        "schema_version": st.sampled_from([1, 1, 1, 2, 1.0, True, "1"]),
        "values": values,
    },
    optional={"later": st.integers()},
)


@given(vocabularies(), envelopes | st.lists(envelopes, min_size=1, max_size=3))
def test_it_takes_nothing_that_the_careful_way_would_not_and_means_the_same(vocabulary, told):
    data = json.dumps(told).encode()
    if quick := Quick(vocabulary, 1).read(data):
        assert quick == carefully(data, vocabulary, 1)
        assert all(type(each) in (float, type(None)) for _, _, row in quick for each in row)


@pytest.mark.parametrize(
    ("told", "row"),
    [
        ({"temperature_c": 4}, [4.0, None, None, None]),
        ({"temperature_c": -60, "class": 10, "door_open": True, "load": 1e9}, [-60.0, 10.0, 1.0, 1e9]),
        ({"load": 0.5, "door_open": False, "temperature_c": 80.0}, [80.0, None, 0.0, 0.5]),
    ],
)
def test_usual_messages_are_read_in_stored_order(told, row):
    quick, one = Quick(VOCABULARY, 2), GOOD | {"values": told}
    assert quick.read(json.dumps(one).encode()) == [(ID, MOMENT, row)]
    assert quick.read(json.dumps([one] * MAX_ENVELOPES).encode()) == [(ID, MOMENT, row)] * MAX_ENVELOPES
    assert quick.read(json.dumps(one | {"ts": "2026-03-01T13:00:00.123999+01:00"}).encode()) == [(ID, MOMENT, row)]


@pytest.mark.parametrize(
    "changes",
    [
        {"values": {"temperature_c": 81}},
        {"values": {}},
        {"values": {"temperature_c": 1, "note": "x"}},
        {"values": {"temperature_c": 1, "load": None}},
        {"values": {"temperature_c": True}},
        {"values": {"temperature_c": 1, "class": 11}},
        {"values": {"temperature_c": 1, "class": 5.0}},
        {"values": {"temperature_c": 1, "load": 2**53 + 2}},
        {"schema_version": 1},
        {"ts": "noon"},
        {"ts": 10**18},
        {"later": 1},
    ],
)
def test_whatever_is_not_usual_is_left_to_the_careful_way(changes):
    quick, told = Quick(VOCABULARY, 2), GOOD | changes
    assert quick.read(json.dumps(told).encode()) == []
    assert quick.read(json.dumps([GOOD, told]).encode()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{", b" " + json.dumps(GOOD).encode(), cbor2.dumps(GOOD), json.dumps([GOOD] * 501).encode(),
        json.dumps(GOOD).encode().ljust(MAX_PAYLOAD_BYTES + 1), b"[" * 100_000,
    ],
    ids=["nothing", "none", "half", "white space", "CBOR", "too many", "too large", "deep"],
)  # fmt: skip
def test_so_are_other_bytes(data):
    assert Quick(VOCABULARY, 2).read(data) == []


@pytest.mark.parametrize("kind", [NUMBER, INTEGER])
def test_a_range_beyond_exact_numbers_has_no_usual_messages(kind):
    far = Vocabulary((MetricSpec("load", kind, minimum=2.0**63, maximum=2.0**70, required=True),))
    assert Quick(far, 2).read(json.dumps(GOOD | {"values": {"load": 2**64}}).encode()) == []


def test_a_version_that_wants_a_text_has_no_usual_messages():
    wanted = Vocabulary((MetricSpec("note", TEXT, required=True),))
    assert Quick(wanted, 2).read(json.dumps(GOOD | {"values": {}}).encode()) == []
