"""The box to try in: the same verdicts as ingestion's, whatever was pasted."""

import base64
import json
from datetime import UTC, datetime, timedelta

import cbor2
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.contract import MAX_PAYLOAD_BYTES
from telemetry.packing import Compiled
from telemetry.schema.compatibility import Vocabulary
from telemetry.schema.trying import SHOWN, attempt, from_text
from tests.telemetry.test_packing import METRICS

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
VALUES = {"level": 4.5, "count": 7, "on": True, "note": "warm"}


def told(values=VALUES, **changes):
    head = {"msg_id": "018f6f2e-0000-7000-8000-000000000001", "ts": "2026-05-04T11:59:00Z", "schema_version": 1}
    return head | {"values": values} | changes


def tried(data, open_=False):
    payload = data if isinstance(data, bytes) else json.dumps(data).encode()
    return attempt(payload, Compiled(Vocabulary(METRICS, open_)), 1, NOW, 400)


def mistakes(answer):
    return [(each.reason, each.path) for one in answer.tried for each in one.mistakes]


def test_an_envelope_is_shown_as_it_would_be_stored():
    answer = tried(told())
    assert (answer.told, answer.taken, answer.refused) == ("JSON: an envelope", 1, 0)
    (one,) = answer.tried
    assert [(each.name, each.value, each.unit, each.place) for each in one.stored] == [
        ("level", "4.5", "m", 0),
        ("count", "7", "", 1),
        ("on", "yes", "", 2),
        ("note", "warm", "", None),
    ]
    assert one.notes == []


def test_what_is_missing_and_what_nobody_named_is_shown_too():
    (one,) = tried(told({"level": 1, "on": False, "x": {"a": [1]}}), open_=True).tried
    assert [(each.name, each.value, each.named) for each in one.stored] == [
        ("level", "1", True),
        ("count", "", True),
        ("on", "no", True),
        ("note", "", True),
        ("x", '{"a": [1]}', False),
    ]


def test_every_mistake_has_its_path_in_the_words_of_the_dead_letters():
    answer = tried(told({"level": 99, "count": "many"}))
    assert sorted(mistakes(answer)) == [("schema", "$.values.count"), ("schema", "$.values.level")]
    assert mistakes(tried(told(ts="yesterday")))[0][1] == "$.ts"
    assert mistakes(tried(b"{")) and mistakes(tried(b'{"values": {}}'))
    assert mistakes(tried(told({"level": 1, "x": float("nan")}), open_=True))[0][0] == "encoding"
    assert mistakes(tried(cbor2.dumps(told({"level": 1, "x": float("nan")})), open_=True)) == [("schema", "$.values")]


def test_an_array_is_judged_one_by_one_those_with_mistakes_first():
    answer = tried([told() for _ in range(30)] + [told({})])
    assert (answer.taken, answer.refused, len(answer.tried), answer.more) == (30, 1, SHOWN, 11)
    assert answer.tried[0].number == 31 and mistakes(answer) == [("schema", "$.values")]


def test_values_alone_are_judged_as_if_in_an_envelope():
    for data in (VALUES, cbor2.dumps(VALUES), zstandard.compress(json.dumps(VALUES).encode())):
        answer = tried(data)
        assert (answer.taken, answer.refused) == (1, 0) and "values alone" in answer.told
    assert mistakes(tried({"level": "4"})) == [("schema", "$.values.level")]
    assert mistakes(tried({"note": "a\0"})) == [("nul", "$")]
    assert tried(cbor2.dumps({1: 2})).refused == 1


@pytest.mark.parametrize("words", ["null", "123", "true", "Hello, portal", "temperature=4", '"quoted"', "\u00fcber"])
def test_plain_text_is_called_so_and_not_cbor(words):
    answer = tried(words.encode())
    assert answer.told == "plain text: no envelope"
    assert mistakes(answer) == [("encoding", "$")]
    assert "a message is a JSON object" in answer.tried[0].mistakes[0].detail


def test_what_else_the_portal_would_look_at():
    assert "schema_version 2" in tried(told(schema_version=2)).tried[0].notes[0]
    assert "ts_ahead" in tried(told(ts=(NOW + timedelta(days=2)).isoformat())).tried[0].notes[0]
    assert "ts_old" in tried(told(ts=(NOW - timedelta(days=401)).isoformat())).tried[0].notes[0]


@pytest.mark.parametrize("plain", [cbor2.dumps(told()), zstandard.compress(json.dumps(told()).encode())])
def test_bytes_are_pasted_as_hex_or_base64(plain):
    spaced = plain.hex(" ")
    for text in (plain.hex(), "0x" + plain.hex().upper(), spaced, spaced.replace(" ", ":"), f"\n{spaced}\n"):
        assert from_text(text) == (plain, "hex")
    packed = base64.b64encode(plain).decode()
    for text in (packed, base64.urlsafe_b64encode(plain).decode(), f"{packed[:40]}\n{packed[40:]}"):
        assert from_text(text) == (plain, "Base64")
    assert tried(plain).taken == 1
    assert from_text(' {"a": 1}') == (b'{"a": 1}', "text")
    assert from_text("hello, world") == (b"hello, world", "text")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\x9f" * 1000,
        b'{"level": "<script>alert(1)</script>"}',
        b'{"level": 1e999}',
        b'{"level": ' + b"9" * 5000 + b"}",
        b" " * (MAX_PAYLOAD_BYTES + 1),
        b"\x28\xb5\x2f\xfd" + b"\0" * 20,
        zstandard.compress(b" " * 10_000_000),
        cbor2.dumps({"a": cbor2.CBORTag(99, [1])}),
        b"\xa1\x61a\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_nothing_that_is_pasted_crashes_it(data):
    answer = tried(data)
    assert (answer.taken, answer.refused) == (0, 1)
    assert all(len(each.detail) <= 400 for one in answer.tried for each in one.mistakes)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_and_any_text_have_an_answer(something):
    data = something if isinstance(something, bytes) else from_text(something)[0]
    for answer in (tried(data), tried(data, open_=True)):
        assert answer.taken + answer.refused == len(answer.tried) >= 1
