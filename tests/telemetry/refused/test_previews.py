"""Refused payloads as people read them: text, bounded, with the place of the mistake."""

import json

import cbor2
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from telemetry.refused import previews
from telemetry.refused.previews import preview

ENVELOPE = {"msg_id": "x", "values": {"t": 999, "note": "n"}, "list": [{"a": 1}, {"a": 2}]}


def marked(found):
    return [line.text.strip() for line in found.lines if line.marked]


@pytest.mark.parametrize(
    ("payload", "form"),
    [
        (json.dumps(ENVELOPE).encode(), "JSON"),
        (cbor2.dumps(ENVELOPE), "CBOR"),
        (zstandard.compress(json.dumps(ENVELOPE).encode()), "JSON, zstd"),
        (zstandard.compress(cbor2.dumps(ENVELOPE)), "CBOR, zstd"),
    ],
)
def test_documents_are_indented_and_the_mistake_is_marked(payload, form):
    found = preview(payload, "$.values.t")
    assert found.form == form
    assert json.loads("".join(line.text for line in found.lines)) == ENVELOPE
    assert marked(found) == ['"t": 999,']
    assert not found.cut


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("$", []),
        ("topic", []),
        ("$.list[1].a", ['"a": 2']),
        ("$.list.0", ["{", '"a": 1', "},"]),
        ("$.values.missing", ['"values": {', '"t": 999,', '"note": "n"', "},"]),
        ("$[3].values.t", ['"t": 999,']),  # it came in an array, and the letter holds it alone
        ("$.nothing", []),
        ("$[", []),
    ],
)
def test_the_mistake_is_found_as_far_as_it_is_there(path, lines):
    assert marked(preview(json.dumps(ENVELOPE).encode(), path)) == lines


def test_an_array_keeps_its_numbers():
    found = preview(json.dumps([ENVELOPE, {"values": {"t": 1}}]).encode(), "$[1].values.t")
    assert marked(found) == ['"t": 1']


@pytest.mark.parametrize(
    ("payload", "form", "first"),
    [
        (b"hello\nworld", "Text", "hello"),
        (b'{"cut', "Text", '{"cut'),
        (b"\xff\x00AB", "Bytes", "000000  ff 00 41 42                                      ..AB"),
        (b"\x28\xb5\x2f\xfd broken", "Bytes", None),
        (b"\x00" * 5, "Bytes", None),
    ],
)
def test_what_is_no_document_is_text_or_a_dump(payload, form, first):
    found = preview(payload)
    assert found.form == form
    assert first is None or found.lines[0].text == first


def test_nothing_turns_or_hides_text():
    found = preview(json.dumps({"a": "\u202egnp.exe\u200b", "b": "\u0007"}, ensure_ascii=False).encode())
    text = "\n".join(line.text for line in found.lines)
    assert "\\u202egnp.exe\\u200b" in text
    assert all(char.isprintable() or char == "\n" for char in text)


def test_what_is_shown_is_bounded():
    for payload in (b"[" + b"1," * 100_000 + b"1]", b"\xff" * 200_000, b"x" * 200_000, b"y\n" * 100_000):
        found = preview(payload)
        assert found.cut
        assert len(found.lines) <= previews.MAX_LINES
        assert max(len(line.text) for line in found.lines) <= previews.MAX_LINE + 1
    deep = preview(cbor2.dumps(json.loads("[" * 200 + "]" * 200)))
    assert deep.lines[len(deep.lines) // 2].text.strip() == "…"
    long = preview(json.dumps({"a": "x" * 100_000}).encode())
    assert len(long.lines[1].text) <= previews.MAX_LINE + 1


def test_values_json_does_not_know_are_told():
    text = "\n".join(line.text for line in preview(cbor2.dumps({"b": b"ab", 1: 2, "n": float("nan")})).lines)
    assert "h'6162'" in text
    assert '"1": 2' in text
    assert "NaN" in text


@pytest.mark.parametrize(
    "value",
    [1 << 40_000, -(1 << 40_000), {1 << 40_000: 1}, [cbor2.CBORTag(99, [1 << 40_000])], {(1, 1 << 40_000): 1}],
    ids=["one", "negative", "name", "inside", "inside a name"],
)
def test_numbers_too_long_for_digits_are_told_in_words(value):
    text = "\n".join(line.text for line in preview(cbor2.dumps({"v": value})).lines)
    assert "a number of 40,001 bits" in text or "too long or too deep to be shown" in text


def test_a_document_that_contains_itself_ends():
    assert preview(bytes([0xD8, 0x1C, 0x81, 0xD8, 0x1D, 0x00])).lines


@given(st.binary(max_size=300), st.text(max_size=30))
def test_any_bytes_and_any_path_have_a_preview(payload, path):
    found = preview(payload, path)
    assert all(line.text.isprintable() for line in found.lines)
