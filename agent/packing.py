"""How readings share a message. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import zstandard

from devices.contract import MAX_ENVELOPES, MAX_PAYLOAD_BYTES


def pack(bodies: Sequence[bytes]) -> tuple[bytes, int]:
    """One message with the first of these envelopes (JSON), as many as the contract lets it hold, and how many.

    A single one goes as it is. Several go as an array, in a zstd frame where that is smaller; the contract bounds the
    array before and after. The first is taken however large it is: the portal says what is wrong with it.
    """
    count, size = 1, len(bodies[0]) + 2  # brackets
    while count < min(len(bodies), MAX_ENVELOPES) and size + 1 + len(bodies[count]) <= MAX_PAYLOAD_BYTES:
        size += 1 + len(bodies[count])
        count += 1
    if count == 1:
        return bodies[0], 1
    array = b"[" + b",".join(bodies[:count]) + b"]"
    return min(array, zstandard.ZstdCompressor().compress(array), key=len), count
