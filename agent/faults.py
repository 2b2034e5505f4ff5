"""What goes wrong with a simulated device, repeatably: the same seed has the same bad luck."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from random import Random
from typing import Self

from agent.image import Header, Health


class Fate(Enum):
    """What becomes of a report."""

    SENT = "sent"
    DROP = "drop"
    DUPLICATE = "duplicate"
    DELAY = "delay"
    REORDER = "reorder"


@dataclass(frozen=True, slots=True)
class Faults:
    """How often things go wrong: percent, but for `skew`."""

    drop: float = 0.0
    """Of reports: the line breaks before the broker has one."""
    duplicate: float = 0.0
    """Of reports: sent twice."""
    delay: float = 0.0
    """Of reports: sent up to 10 s late."""
    reorder: float = 0.0
    """Of reports: sent after the next one."""
    power_cut: float = 0.0
    """Of an update's steps: the power goes before or after it."""
    slow: float = 0.0
    """Of devices: 8 to 64 KB/s."""
    skew: float = 0.0
    """The most seconds a device's clock is wrong, either way."""
    skewed: float = 100.0
    """Of devices: those whose clock is wrong, where `skew` is given."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `drop=5,skew=3600`. Raises ValueError."""
        known, found = {field.name for field in fields(cls)}, {}
        for word in filter(None, text.split(",")):
            name, _, value = word.partition("=")
            if name not in known:
                raise ValueError(f"no fault {name!r}; there are {', '.join(sorted(known))}")
            found[name] = float(value)
            if not 0 <= found[name] <= (100 if name != "skew" else 10**9):
                raise ValueError(f"{word}: out of range")
        return cls(**found)


@dataclass(frozen=True, slots=True)
class BadRelease:
    """A version that behaves badly on some devices, whatever its image says."""

    version: str
    percent: float = 100.0
    health: Health = Health.SELF_CHECK

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `1.1.0`, `1.1.0:20` or `1.1.0:20:boot_loop`. Raises ValueError."""
        version, _, rest = text.partition(":")
        percent, _, health = rest.partition(":")
        return cls(version, float(percent or 100), Health(health or Health.SELF_CHECK))


class Luck:
    """One device's luck."""

    def __init__(self, seed: str = "", faults: Faults | None = None, bad: tuple[BadRelease, ...] = ()) -> None:
        self._seed, self._faults, self._bad = seed, faults or Faults(), bad
        self._dice = Random(f"{seed}/luck")  # noqa: S311 - a simulation has to be repeatable
        skew, slow, pace = (self._dice.random() for _ in range(3))
        wrong = Random(f"{seed}/clock").random()  # noqa: S311 - as above
        self.skew = (2 * skew - 1) * self._faults.skew if 100 * wrong < self._faults.skewed else 0.0
        """Seconds its clock is ahead."""
        self.pace = 1024 * (8 + 56 * pace) if 100 * slow < self._faults.slow else 0.0
        """Bytes a second of its downloads, 0 for any number."""
        self.battery_percent = round(60 + 40 * self._dice.random())

    def health(self, header: Header) -> Health:
        """How an image behaves on this device."""
        for one in self._bad:
            share = Random(f"{self._seed}/{one.version}").random()  # noqa: S311 - as above
            if one.version == header.version and 100 * share < one.percent:
                return one.health
        return header.health

    def cut(self) -> bool:
        """Does the power go now?"""
        return 100 * self._dice.random() < self._faults.power_cut

    def fate(self) -> Fate:
        """What becomes of the next report."""
        thrown = 100 * self._dice.random()
        for fate in (Fate.DROP, Fate.DUPLICATE, Fate.DELAY, Fate.REORDER):
            thrown -= getattr(self._faults, fate.value)
            if thrown < 0:
                return fate
        return Fate.SENT

    def delay(self) -> float:
        """Seconds a report is late."""
        return self._dice.uniform(0.5, 10)

    def dark(self) -> float:
        """Seconds a device needs to boot."""
        return self._dice.uniform(0.5, 1.5)
