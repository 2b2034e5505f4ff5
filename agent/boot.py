"""One run of a device's software: its id, and the message ids made during it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

_VERSION_8, _RFC_VARIANT = 8, 2
_RANDOM_BITS, _COUNTER_BITS = 40, 34
_LOW_RANDOM_BITS = 28


@dataclass(frozen=True, slots=True)
class Boot:
    """When the run began (epoch ms, 48 bits, always above the run before) and 40 random bits."""

    started_ms: int
    random: int

    def __post_init__(self) -> None:
        if not (0 <= self.started_ms < 1 << 48 and 0 <= self.random < 1 << _RANDOM_BITS):
            raise ValueError("a boot is 48 bits of milliseconds and 40 random bits")

    @property
    def boot_id(self) -> str:
        """22 hex digits, as the contract's `boot_id`."""
        return f"{self.started_ms:012x}{self.random:010x}"

    def msg_id(self, counter: int) -> UUID:
        """UUIDv8 (RFC 9562): boot time, random bits, counter (0..2^34-1). Raises ValueError beyond.

        Ids of a device ascend in the order they are made, over restarts too, and those of one boot differ only in
        their last five bytes: unique without coordination, cheap in an index and in an archive.
        """
        if not 0 <= counter < 1 << _COUNTER_BITS:
            raise ValueError("counter out of range")
        high = self.started_ms << 80 | _VERSION_8 << 76 | (self.random >> _LOW_RANDOM_BITS) << 64
        low = _RFC_VARIANT << 62 | (self.random & ((1 << _LOW_RANDOM_BITS) - 1)) << _COUNTER_BITS | counter
        return UUID(int=high | low)
