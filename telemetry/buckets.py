"""Token buckets. Pure: the time is an argument.

A device has one of its own, filled with its budget; what it does not use is kept, up to `BURST_MINUTES` of it. All
devices of a tenant share another. A message is taken as a whole and paid for afterwards, so a bucket may be in debt by
what one array can hold, less the reading that was there to pay for.
"""

from dataclasses import dataclass, field

BURST_MINUTES = 5
"""A full bucket holds the budget of so many minutes: what a device has after a while of silence."""
LARGEST = 500
"""Readings in the largest array (devices/contract.py): nobody owes more than this, less one."""
SHARE_SECONDS = 60.0
_A_MINUTE = 60.0
_DEEPEST = 1.0 - LARGEST


class Bucket:
    """What may still be sent, in readings: `level`, after `fill`. From 1 on there is room for a message."""

    __slots__ = ("at", "level", "per_minute")

    def __init__(self, per_minute: int, now: float) -> None:
        """Full. `per_minute`: 1 or more; `now`: seconds of a clock that counts evenly."""
        self.per_minute = per_minute
        self.level = float(per_minute * BURST_MINUTES)
        self.at = now

    @property
    def capacity(self) -> int:
        """Readings in a full one."""
        return self.per_minute * BURST_MINUTES

    def fill(self, per_minute: int, now: float) -> None:
        """Add what has flown in since the last time; a clock that went back adds nothing.

        A changed budget counts from now on: what a higher one holds more is there at once.
        """
        if now > self.at:
            self.level += (now - self.at) * self.per_minute / _A_MINUTE
            self.at = now
        if per_minute != self.per_minute:
            self.level += max(per_minute - self.per_minute, 0) * BURST_MINUTES
            self.per_minute = per_minute
        self.level = min(self.level, self.capacity)

    def take(self, readings: int) -> float:
        """So many were taken; the debt ends at `LARGEST` less one. Returns how many it cost."""
        before = self.level
        self.level = max(before - readings, _DEEPEST)
        return before - self.level

    def give_back(self, readings: float) -> None:
        """They were not taken after all: their batch is not stored, and comes again. No more than `take` said."""
        self.level = min(self.level + readings, self.capacity)

    def wait(self, now: float) -> float:
        """In how many seconds there will be room; 0 when there is."""
        missing = 1 - self.level - max(now - self.at, 0) * self.per_minute / _A_MINUTE
        return max(missing, 0) * _A_MINUTE / self.per_minute

    def is_full(self, now: float) -> bool:
        """Would it be full by now? Then it need not be kept: a new one is full."""
        return self.level + (now - self.at) * self.per_minute / _A_MINUTE >= self.capacity


@dataclass(slots=True)
class Shares:
    """Who sent how much of a tenant's budget this minute: when it is used up, each device still has its fair share.

    So one device that is within its own budget, but sends most of what all may send, does not silence its siblings.
    A share is the tenant's budget divided by the devices heard this minute or the last, whichever was more.
    """

    began: float
    sent: dict[int, int] = field(default_factory=dict)
    """Readings taken this minute, by device."""
    before: int = 0
    """Devices heard in the minute before."""

    def turn(self, now: float, per_minute: int) -> None:
        """Begin a new minute when this one is over; what an array took beyond its device's share counts in it."""
        if now - self.began >= SHARE_SECONDS:
            share = self.share(per_minute)
            self.before = len(self.sent) if now - self.began < 2 * SHARE_SECONDS else 0
            self.sent = {each: min(sent - share, LARGEST) for each, sent in self.sent.items() if sent > share}
            self.began = now

    def take(self, device: int, readings: int) -> None:
        """This device was let in with so many; 0: it was heard, so its share is kept free. Less than 0: given back."""
        self.sent[device] = self.sent.get(device, 0) + readings

    def share(self, per_minute: int) -> int:
        """Readings a minute for each who shares, 1 or more: else whoever is fastest would have all."""
        return max(per_minute // max(self.before, len(self.sent), 1), 1)

    def has_room(self, device: int, per_minute: int) -> bool:
        """Has this device had less than its share?"""
        return self.sent.get(device, 0) < self.share(per_minute)
