import json
import uuid
from datetime import UTC, datetime

import cbor2
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from devices.contract import MAX_ENVELOPES, MAX_PAYLOAD_BYTES
from telemetry import payload
from telemetry.payload import Message, Mistake
from tests.devices.hostile import CORPUS

ID = uuid.UUID("0193a1b2-c3d4-8e5f-8a6b-7c8d9e0f1a2b")
GOOD = {"msg_id": str(ID), "ts": 1772366400123, "schema_version": 1, "values": {"a": 1.5, "b": True, "c": "x"}}
MOMENT = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
ENCODINGS = {"json": lambda item: json.dumps(item).encode(), "cbor": cbor2.dumps}
REASONS = {"encoding", "field", "nul", "too_large", "timestamp", "array"}


@pytest.fixture(params=ENCODINGS)
def encode(request):
    return ENCODINGS[request.param]


def test_one_envelope_is_a_message(encode):
    assert payload.decode(encode(GOOD)) == [Message(ID, MOMENT, 1, GOOD["values"])]


def test_an_array_is_as_many_messages_in_its_order(encode):
    many = [GOOD | {"schema_version": n + 1} for n in range(MAX_ENVELOPES)]
    assert [item.schema_version for item in payload.decode(encode(many))] == list(range(1, MAX_ENVELOPES + 1))


@pytest.mark.parametrize("beyond", [1, 1000])
def test_an_array_that_is_too_long_names_as_many_as_may_be_and_the_rest_in_one(encode, beyond):
    *named, rest = payload.decode(encode([GOOD] * (MAX_ENVELOPES + beyond)))
    assert {(mistake.reason, mistake.msg_id) for mistake in named} == {("array", ID)}
    assert len(named) == MAX_ENVELOPES
    assert (rest.reason, rest.path, rest.msg_id, rest.alone) == ("array", f"$[{MAX_ENVELOPES}]", None, None)


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_value_that_is_nested_too_deeply_spoils_its_envelope_alone_or_in_an_array(encode):
    flat, most, over = (GOOD | {"values": {"a": nested(levels)}} for levels in (0, 14, 15))
    assert isinstance(payload.decode(encode(most))[0], Message)
    assert all(isinstance(each, Message) for each in payload.decode(encode([most, flat, most])))
    assert payload.decode(encode(over))[0].reason == "encoding"
    found = payload.decode(encode([flat, over, flat]))
    assert [each.reason for each in found if isinstance(each, Mistake)] == ["encoding"]
    if encode is not cbor2.dumps:
        assert [isinstance(each, Message) for each in found] == [True, False, True]
        assert found[1].msg_id == ID


def test_many_brackets_are_not_depth():
    wide = GOOD | {"values": {"a": [[n] for n in range(100)], "text": "[" * 100}}
    assert payload._usual(json.dumps(wide).encode()) == [Message(ID, MOMENT, 1, wide["values"])]
    assert payload._usual(json.dumps(GOOD | {"values": {"a": nested(300)}}).encode()) == []


def test_an_integer_that_nobody_could_write_out_is_a_mistake():
    assert isinstance(payload.decode(cbor2.dumps(GOOD | {"values": {"a": 10**400}}))[0], Message)
    assert payload.decode(cbor2.dumps(GOOD | {"values": {"a": 10**5000}}))[0].reason == "encoding"


def test_the_size_is_told_unpacked(encode):
    plain = encode([GOOD] * 20)
    packed = zstandard.ZstdCompressor().compress(plain)
    assert len(packed) < len(plain) / 2
    assert payload.sized(packed) == payload.sized(plain) == (payload.decode(plain), len(plain))
    bomb = zstandard.ZstdCompressor().compress(b"[" * (MAX_PAYLOAD_BYTES + 1))
    assert payload.sized(bomb)[1] == MAX_PAYLOAD_BYTES


@pytest.mark.parametrize("bad", [b"1e400", b'"\\u0000"', b"9" * 5000])
def test_a_value_nobody_can_read_spoils_only_its_own_envelope(bad):
    good = json.dumps(GOOD).encode()
    other = json.dumps(GOOD | {"values": {"x": 0}}).encode().replace(b'{"x": 0}', b'{"x": ' + bad + b"}")
    first, second, third = payload.decode(b"[" + good + b", " + other + b", " + good + b"]")
    assert isinstance(first, payload.Message)
    assert isinstance(third, payload.Message)
    if isinstance(second, payload.Mistake):  # a huge integer can be read, and is refused by its schema
        assert (str(second.msg_id), second.path) == (GOOD["msg_id"], "$[1]")
        assert second.alone == other


@pytest.mark.parametrize("count", [0])
def test_an_array_of_none_is_one_mistake(encode, count):
    (mistake,) = payload.decode(encode([GOOD] * count))
    assert (mistake.reason, mistake.path) == ("array", "$")


def test_a_mistake_spoils_its_own_envelope_only_and_is_told_with_its_path_and_id(encode):
    bad = GOOD | {"schema_version": 0}
    first, mistake, last = payload.decode(encode([GOOD, bad, GOOD]))
    assert isinstance(first, Message)
    assert isinstance(last, Message)
    assert (mistake.reason, mistake.path, mistake.msg_id) == ("field", "$[1].schema_version", ID)
    assert json.loads(mistake.alone) == bad


def test_a_binary_uuid_is_an_id_in_cbor():
    assert payload.decode(cbor2.dumps(GOOD | {"msg_id": ID}))[0].msg_id == ID


def test_unknown_fields_are_ignored(encode):
    assert payload.decode(encode(GOOD | {"later": [1, {"x": None}]})) == payload.decode(encode(GOOD))


@pytest.mark.parametrize("space", [b" ", b"\n", b"\t", b"\r\n"])
def test_json_may_start_with_white_space(space):
    assert isinstance(payload.decode(space + json.dumps(GOOD).encode())[0], Message)


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_a_mistake(encode, field):
    (mistake,) = payload.decode(encode({key: value for key, value in GOOD.items() if key != field}))
    assert mistake.reason == "field"
    assert mistake.msg_id == (None if field == "msg_id" else ID)


@pytest.mark.parametrize(
    ("changes", "reason", "path"),
    [
        ({"msg_id": "7"}, "field", "$.msg_id"),
        ({"ts": "yesterday"}, "timestamp", "$.ts"),
        ({"ts": 10**18}, "timestamp", "$.ts"),
        ({"schema_version": 1.5}, "field", "$.schema_version"),
        ({"schema_version": 32768}, "field", "$.schema_version"),
        ({"values": [1]}, "field", "$.values"),
        ({"values": None}, "field", "$.values"),
    ],
)
def test_a_wrong_field_is_a_mistake_with_its_path(encode, changes, reason, path):
    (mistake,) = payload.decode(encode(GOOD | changes))
    assert (mistake.reason, mistake.path) == (reason, path)


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_bytes_are_a_mistake(name):
    (mistake,) = payload.decode(CORPUS[name])[:1]
    assert isinstance(mistake, Mistake)
    assert mistake.reason in REASONS


@pytest.mark.parametrize(
    "value",
    [b"b", {1: 2}, {"a": {b"k": 1}}, datetime(2026, 1, 1, tzinfo=UTC), {1}, cbor2.CBORTag(999, 1), cbor2.undefined],
    ids=repr,
)
def test_what_json_could_not_say_has_no_place_in_a_reading(value):
    (mistake,) = payload.decode(cbor2.dumps(GOOD | {"values": {"a": value}}))
    assert mistake.reason == "encoding"


def test_a_nul_in_any_text_is_a_mistake(encode):
    for values in ({"a": "x\0y"}, {"k\0": 1}):
        (mistake,) = payload.decode(encode(GOOD | {"values": values}))
        assert mistake.reason == "nul"


def test_the_size_is_judged_before_anything_is_read():
    most = json.dumps(GOOD).encode().ljust(MAX_PAYLOAD_BYTES)
    assert isinstance(payload.decode(most)[0], Message)
    (mistake,) = payload.decode(most + b" ")
    assert mistake.reason == "too_large"


def test_bytes_after_the_end_are_a_mistake(encode):
    assert payload.decode(encode(GOOD) + b"\x00")[0].reason == "encoding"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.uuids(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=20,
)
almost = st.fixed_dictionaries(
    {},
    optional={
        "msg_id": st.uuids().map(str) | anything,
        "ts": st.integers() | st.text() | anything,
        "schema_version": st.integers() | anything,
        "values": st.dictionaries(st.text(), anything, max_size=4) | anything,
    },
)


def well_told(items):
    assert items
    for item in items:
        assert isinstance(item, Message) or (item.reason in REASONS and item.path.startswith("$"))


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(data):
    well_told(payload.decode(data))


@given(anything | almost | st.lists(almost, max_size=4))
def test_no_cbor_makes_it_raise(item):
    try:
        data = cbor2.dumps(item)
    except UnicodeEncodeError:
        return
    well_told(payload.decode(data))


@given(almost | st.lists(almost, max_size=4))
def test_no_json_makes_it_raise(item):
    well_told(payload.decode(json.dumps(item, default=str).encode()))


usual = st.fixed_dictionaries(
    {
        "msg_id": st.uuids().map(str),
        "ts": st.integers(-(10**14), 10**14)
        | st.datetimes(timezones=st.timezones()).map(lambda each: each.isoformat()),
        "schema_version": st.integers(1, 32767),
        "values": st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text()),
    }
)


@given(usual | almost | st.lists(usual | almost, min_size=1, max_size=4))
def test_what_is_read_in_one_go_is_what_the_careful_way_reads(item):
    data = json.dumps(item, default=str).encode()
    if quick := payload._usual(data):
        assert quick == payload._any(data)


@pytest.mark.parametrize(
    "ts", ["2026-03-01T12:00:00.123Z", "2026-03-01T13:00:00.123456+01:00", "2026-03-01t12:00:00.1239z", 1772366400123]
)
def test_usual_envelopes_are_read_in_one_go(ts):
    told = GOOD | {"ts": ts}
    assert payload._usual(json.dumps(told).encode()) == [Message(ID, MOMENT, 1, GOOD["values"])]
    assert payload._usual(json.dumps([told] * 2).encode()) == [Message(ID, MOMENT, 1, GOOD["values"])] * 2
    assert payload._usual(json.dumps(told | {"later": 1}).encode()) == []
