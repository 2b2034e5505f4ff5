"""A message with several readings is what the portal takes, and holds as many as it may."""

import json
from random import Random
from uuid import UUID

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from agent.packing import pack
from devices import contract
from devices.contract import MAX_ENVELOPES, MAX_PAYLOAD_BYTES, Envelope
from telemetry import compression, payload


def reading(number: int, **values: object) -> bytes:
    rng = Random(number)
    seen = values or {"temperature_c": round(rng.uniform(2, 8), 2), "battery_v": round(rng.uniform(3, 3.3), 3)}
    return contract.encode(Envelope(UUID(int=number + (8 << 76) + (2 << 62)), 1_770_000_000_000 + number, 1, seen))


def test_a_reading_alone_goes_as_it_is() -> None:
    assert pack([reading(1)]) == (reading(1), 1)


def test_a_backlog_goes_in_one_frame_and_the_portal_reads_it() -> None:
    bodies = [reading(number) for number in range(200)]
    message, count = pack(bodies)
    assert count == 200
    assert message.startswith(zstandard.FRAME_HEADER)
    assert len(message) < sum(map(len, bodies)) / 3
    assert [item.msg_id for item in payload.decode(message)] == [UUID(json.loads(body)["msg_id"]) for body in bodies]


def test_a_frame_that_is_no_smaller_is_not_made() -> None:
    assert pack([b"1", b"2"]) == (b"[1,2]", 2)


def test_a_message_holds_at_most_what_the_contract_says() -> None:
    assert pack([b"{}"] * (MAX_ENVELOPES + 1))[1] == MAX_ENVELOPES
    half = b'"' + b"x" * (MAX_PAYLOAD_BYTES // 2 - 4) + b'"'
    message, count = pack([half, half, half])
    assert count == 2
    assert len(compression.unpack(message)) == MAX_PAYLOAD_BYTES - 1
    assert pack([half + b"  ", half, half])[1] == 1
    too_long = b"x" * (MAX_PAYLOAD_BYTES + 1)
    assert pack([too_long, half]) == (too_long, 1)


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=600))
def test_nothing_is_left_out_and_nothing_sent_twice(sizes: list[int]) -> None:
    bodies = [b'"' + bytes([97 + n % 26]) * size + b'"' for n, size in enumerate(sizes)]
    sent: list[str] = []
    left = bodies
    while left:
        message, count = pack(left)
        plain = compression.unpack(message)
        assert len(plain) <= MAX_PAYLOAD_BYTES
        sent += json.loads(plain if count > 1 else b"[" + plain + b"]")
        left = left[count:]
    assert sent == [json.loads(body) for body in bodies]
