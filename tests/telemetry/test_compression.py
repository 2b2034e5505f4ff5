"""Compressed payloads, from the frame to the reading, and frames that want to harm."""

import json
import tracemalloc
from random import Random

import cbor2
import pytest
import zstandard
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from devices import tokens
from devices.contract import MAX_PAYLOAD_BYTES, MAX_WINDOW_BYTES, ContractError
from devices.registry import Incoming
from telemetry import ingest, payload
from telemetry.compression import unpack
from telemetry.models import DeadLetter, Reading
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.messages import envelope, topic

MAGIC = zstandard.FRAME_HEADER
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
TEXT = b'{"temperature_c": 4.5}' * 40
LAST, RLE = 1, 2


def sized(data, **how):
    """A frame that says how much it holds."""
    return zstandard.ZstdCompressor(**how).compress(data)


def streamed(data, **how):
    """A frame that does not, as a device makes it that compresses while it writes."""
    stream = zstandard.ZstdCompressor(**how).compressobj()
    return stream.compress(data) + stream.flush()


def by_hand(*blocks, window=13):
    """A frame of blocks, with a window of 2^(10 + window) bytes."""
    return MAGIC + b"\x00" + bytes([window << 3]) + b"".join(blocks)


def run(size, last=0):
    """A block of one byte repeated: four bytes that make up to 128 KiB."""
    return (last | RLE | size << 3).to_bytes(3, "little") + b"a"


def refusal(data):
    with pytest.raises(ContractError) as refused:
        unpack(data)
    return refused.value.reason, refused.value.detail


MAKERS = {
    "sized": sized,
    "streamed": streamed,
    "with a checksum": lambda data: sized(data, write_checksum=True),
    "level 19": lambda data: streamed(data, level=19),
    "fast": lambda data: streamed(data, level=-5),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_frame_gives_what_is_in_it(make):
    most = Random(1).randbytes(1000) * 262 + b"x" * 144
    assert len(most) == MAX_PAYLOAD_BYTES
    for data in (b"x", TEXT, most):
        assert unpack(make(data)) == data


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_one_byte_too_many_is_too_large(make):
    assert refusal(make(b"x" * (MAX_PAYLOAD_BYTES + 1)))[0] == "too_large"


@given(st.binary().filter(lambda data: not data.startswith(MAGIC)))
def test_what_is_no_frame_is_left_alone(data):
    if data[1:4] != SKIPPABLE[1:4]:
        assert unpack(data) is data


@given(st.binary(max_size=300))
def test_no_bytes_behind_the_magic_number_make_it_raise_anything_else(data):
    try:
        outcome = unpack(MAGIC + data)
    except ContractError as error:
        outcome = error.reason
    assert outcome in {"encoding", "too_large"} or len(outcome) <= MAX_PAYLOAD_BYTES


@pytest.mark.parametrize("make", [sized, streamed])
@given(at=st.floats(0, 1, exclude_max=True))
def test_a_frame_that_was_cut_is_refused_wherever_it_was(make, at):
    frame = make(TEXT)
    cut = frame[: max(len(MAGIC), int(len(frame) * at))]
    assert refusal(cut)[0] == "encoding"


BAD = {
    "a cut frame": (streamed(TEXT)[:-1], "a zstd frame without its end"),
    "two frames": (streamed(TEXT) * 2, "bytes after the zstd frame: one frame is a message"),
    "two sized frames": (sized(TEXT) * 2, "bytes after the zstd frame: one frame is a message"),
    "bytes after it": (sized(TEXT) + b"{", "bytes after the zstd frame: one frame is a message"),
    "a skippable frame after it": (sized(TEXT) + SKIPPABLE, "bytes after the zstd frame: one frame is a message"),
    "a skippable frame first": (SKIPPABLE + sized(TEXT), "a skippable zstd frame holds no readings"),
    "nothing in it": (sized(b""), "an empty zstd frame"),
    "nothing in a stream": (streamed(b""), "an empty zstd frame"),
    "a window of 2 GiB": (by_hand(run(1, LAST), window=21), "a zstd frame with a window of 2147483648 bytes"),
    "a window above the limit": (by_hand(run(1, LAST), window=14), f"at most {MAX_WINDOW_BYTES}"),
    "a window nobody has": (MAGIC + b"\x00\xff" + run(1, LAST), "too much memory"),
    "a false checksum": (sized(TEXT, write_checksum=True)[:-1] + b"\x00", "checksum"),
    "more than it said": (MAGIC + b"\x20\x04" + run(5, LAST), "not a zstd frame"),
    "less than it said": (MAGIC + b"\x20\x04" + run(3, LAST), "not a zstd frame"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_frame_is_refused_in_words(name):
    data, said = BAD[name]
    reason, detail = refusal(data)
    assert (reason, said in detail) == ("encoding", True), detail


def test_a_frame_that_needs_a_dictionary_names_it():
    samples = [json.dumps(envelope(msg_id=str(n))).encode() for n in range(500)]
    dictionary = zstandard.train_dictionary(4096, samples)
    assert refusal(sized(TEXT, dict_data=dictionary)) == (
        "encoding",
        f"a zstd frame that needs dictionary {dictionary.dict_id()}: none is known here",
    )


BOMBS = {
    "it says so": sized(bytes(64 * 1024 * 1024)),
    "it does not": streamed(bytes(64 * 1024 * 1024)),
    "8 GB of runs": by_hand(*[run(128 * 1024)] * 60_000, run(1, LAST)),
    "a gigabyte of it says a little": MAGIC + b"\x20\x04" + run(128 * 1024) * 8000 + run(1, LAST),
    "blocks of nothing": by_hand(*[b"\0\0\0"] * 87_000, b"\1\0\0"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_bomb_takes_memory(name):
    """tracemalloc sees what Python allocates, so what a frame unpacks to; the window is bounded by its limit."""
    bomb = BOMBS[name][:MAX_PAYLOAD_BYTES]
    tracemalloc.start()
    try:
        refusal(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_PAYLOAD_BYTES
    finally:
        tracemalloc.stop()


# --- through the doors ----------------------------------------------------------------------------------------------

ENCODINGS = {"JSON": lambda item: json.dumps(item).encode(), "CBOR": cbor2.dumps}


@pytest.fixture
def device(days):
    device = DeviceFactory()
    SchemaFactory(device_type=device.device_type)
    return device


def over_mqtt(device, client, body):
    ingest.store_batch([Incoming(topic(device), body, 1)])


def over_https(device, client, body, **headers):
    headers["Authorization"] = f"Bearer {tokens.make(device, timezone.now())[1]}"
    return client.post("/api/v1/telemetry", body, content_type="application/octet-stream", headers=headers)


@pytest.mark.django_db
@pytest.mark.xdist_group("channels")
@pytest.mark.parametrize("send", [over_mqtt, over_https])
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("count", [1, 500])
def test_readings_are_stored_from_a_frame(device, client, send, encode, count):
    readings = [envelope() for _ in range(count)]
    send(device, client, sized(encode(readings if count > 1 else readings[0])))
    stored = {str(msg_id) for msg_id in Reading.objects.values_list("msg_id", flat=True)}
    assert stored == {each["msg_id"] for each in readings}


@pytest.mark.django_db
@pytest.mark.xdist_group("channels")
@pytest.mark.parametrize("header", [{}, {"Content-Encoding": "zstd"}, {"Content-Encoding": "gzip"}], ids=str)
def test_over_https_the_frame_itself_says_that_it_is_one_whatever_a_header_says(device, client, header):
    for body in (sized(json.dumps(envelope()).encode()), json.dumps(envelope()).encode()):
        assert over_https(device, client, body, **header).status_code == 200
    assert Reading.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.xdist_group("channels")
def test_a_bad_frame_is_a_refusal_over_https_and_a_dead_letter_over_mqtt(device, client):
    answer = over_https(device, client, streamed(TEXT)[:-1])
    assert (answer.status_code, answer.json()["error_code"]) == (400, "encoding")
    bomb = over_https(device, client, BOMBS["it does not"])
    assert (bomb.status_code, bomb.json()["error_code"]) == (413, "too_large")
    over_mqtt(device, client, BOMBS["it says so"])
    assert set(DeadLetter.objects.values_list("reason", flat=True)) == {"encoding", "too_large"}


def test_one_bad_envelope_in_a_frame_spoils_no_other():
    good, bad = envelope(), envelope(schema_version=0)
    first, second = payload.decode(sized(json.dumps([good, bad]).encode()))
    assert str(first.msg_id) == good["msg_id"]
    assert (str(second.msg_id), second.path) == (bad["msg_id"], "$[1].schema_version")
    assert json.loads(second.alone) == bad


def test_a_frame_in_a_frame_is_garbage():
    (mistake,) = payload.decode(sized(sized(json.dumps(envelope()).encode())))
    assert mistake.reason == "encoding"
