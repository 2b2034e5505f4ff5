"""Compressed payloads: one zstd frame (RFC 8878), told by its magic number. Pure.

The first byte of a frame, 0x28, begins neither JSON nor a CBOR map or array, so no envelope can be taken for one.
"""

import zstandard

from devices.contract import MAX_PAYLOAD_BYTES, MAX_WINDOW_BYTES, ContractError

_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""Behind a first byte of 0x50…0x5f."""


def unpack(payload: bytes) -> bytes:
    """The payload itself, or what its zstd frame holds. Raises `ContractError`: too_large, encoding.

    What the frame claims is judged before anything is made of it, and never more than MAX_PAYLOAD_BYTES is: no frame
    can make the portal use memory. One frame and nothing else; none that needs a dictionary.
    """
    if payload[1:4] == _SKIPPABLE and payload[0] >> 4 == 5:
        raise ContractError("encoding", "a skippable zstd frame holds no readings")
    if not payload.startswith(_MAGIC):
        return payload
    try:
        told = zstandard.get_frame_parameters(payload)
        _judge(told)
        plain = _first(payload)
        if len(plain) > MAX_PAYLOAD_BYTES:
            raise ContractError("too_large", f"more than {MAX_PAYLOAD_BYTES} bytes unpacked")
        # Only this says where the frame ends. It makes the same once more, so it is bounded now.
        frame = _decompressor().decompressobj()
        frame.decompress(payload)
    except zstandard.ZstdError as error:
        raise ContractError("encoding", f"not a zstd frame: {error}"[:200]) from error
    if not frame.eof:
        raise ContractError("encoding", "a zstd frame without its end")
    if frame.unused_data:
        raise ContractError("encoding", "bytes after the zstd frame: one frame is a message")
    if not plain:
        raise ContractError("encoding", "an empty zstd frame")
    return plain


def _judge(told: zstandard.FrameParameters) -> None:
    if told.dict_id:
        raise ContractError("encoding", f"a zstd frame that needs dictionary {told.dict_id}: none is known here")
    if told.content_size != zstandard.CONTENTSIZE_UNKNOWN and told.content_size > MAX_PAYLOAD_BYTES:
        raise ContractError("too_large", f"{told.content_size} bytes unpacked, at most {MAX_PAYLOAD_BYTES}")
    if told.window_size > MAX_WINDOW_BYTES:
        detail = f"a zstd frame with a window of {told.window_size} bytes, at most {MAX_WINDOW_BYTES}"
        raise ContractError("encoding", detail)


def _first(payload: bytes) -> bytes:
    """What the frame holds, up to a byte more than may be."""
    with _decompressor().stream_reader(payload) as reader:
        return reader.read(MAX_PAYLOAD_BYTES + 1)


def _decompressor() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
