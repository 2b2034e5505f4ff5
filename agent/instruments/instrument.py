"""What all instruments share: the ranges of their metrics, the day's curve, and faults that come and go."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

Values = dict[str, float | bool]

HOUR = 3600.0
DAY = 24 * HOUR

RANGES: dict[str, tuple[float, float, int]] = {
    "temperature_c": (-60, 80, 2),
    "humidity_pct": (0, 100, 1),
    "battery_v": (0, 5, 3),
    "power_w": (0, 50_000, 1),
    "voltage_v": (0, 500, 1),
    "current_a": (0, 200, 3),
    "frequency_hz": (40, 70, 3),
    "energy_kwh": (0, math.inf, 4),
    "flow_lpm": (0, 500, 1),
    "pressure_bar": (0, 25, 2),
    "vibration_mm_s": (0, 100, 2),
    "motor_temp_c": (-40, 200, 1),
}
"""Lowest and highest value of each metric, and the decimals its sensor has."""


class Instrument(Protocol):
    """Sensors and the thing they watch."""

    def read(self, now: float, rng: Random) -> tuple[Instrument, Values]:
        """The instrument and its values at `now` (epoch seconds). All randomness comes from `rng`."""


def clipped(values: Values) -> Values:
    """Values as a sensor would give them: inside the range, with its decimals. Booleans pass."""
    return {name: value if isinstance(value, bool) else _clip(name, value) for name, value in values.items()}


def _clip(name: str, value: float) -> float:
    low, high, decimals = RANGES[name]
    return round(min(max(value, low), high), decimals) + 0.0  # no "-0.0" on a dashboard


def elapsed(since: float | None, now: float) -> float:
    """Seconds since the last reading, 0..3600: clocks are set back, and devices sleep."""
    return 0.0 if since is None else min(max(now - since, 0.0), HOUR)


def daily(now: float, peak_hour: float) -> float:
    """The day's curve, -1..1, highest at `peak_hour` UTC."""
    return math.cos(2 * math.pi * (now / HOUR - peak_hour) / 24)


def toward(value: float, target: float, seconds: float, time_constant: float) -> float:
    """A first-order lag: where `value` is after `seconds` of being drawn to `target`."""
    return target + (value - target) * math.exp(-seconds / time_constant)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong every `every` seconds on average and lasts `shortest..longest` seconds."""

    every: float
    shortest: float
    longest: float
    until: float = -math.inf

    def active(self, now: float) -> bool:
        """Is it wrong at `now`?"""
        return now < self.until

    def after(self, seconds: float, now: float, rng: Random) -> Fault:
        """The fault at `now`, `seconds` after it was last looked at; it may have begun."""
        chance, length = rng.random(), rng.uniform(self.shortest, self.longest)
        if self.until - now > self.longest:  # the clock was set back: do not fail for years
            return replace(self, until=-math.inf)
        begins = not self.active(now) and chance < 1 - math.exp(-seconds / self.every)
        return replace(self, until=now + length) if begins else self
