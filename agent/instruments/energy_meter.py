"""A meter on one phase of a building: load follows the day, and the grid dips now and then."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random

from agent.instruments.instrument import HOUR, Fault, Values, clipped, daily, elapsed

INSTALLED_AT = 1_704_067_200.0
"""2024-01-01: where the counters start."""
SWING = 0.6
"""How far the load moves around its mean over a day; below 1, so that the counter always grows."""


@dataclass(frozen=True, slots=True)
class EnergyMeter:
    """The counter is the integral of the day's curve, a function of the time alone: a restart never turns it back."""

    mean_w: float
    peak_hour: float
    dip: Fault
    dip_voltage: float = 160.0
    read_at: float | None = None

    @classmethod
    def make(cls, rng: Random) -> EnergyMeter:
        """A small shop to a workshop, 0.8 to 4 kW on average."""
        return cls(rng.uniform(800, 4000), rng.uniform(11, 19), Fault(every=3 * HOUR, shortest=4, longest=30))

    def read(self, now: float, rng: Random) -> tuple[EnergyMeter, Values]:
        """See `Instrument.read`."""
        seconds = elapsed(self.read_at, now)
        dip = self.dip.after(seconds, now, rng)
        voltage = 231 - 2.5 * daily(now, self.peak_hour) + rng.gauss(0, 0.6)
        power = self.mean_w * (1 + SWING * daily(now, self.peak_hour)) * max(0.0, 1 + rng.gauss(0, 0.04))
        if dip.active(now):
            power *= self.dip_voltage / voltage
            voltage = self.dip_voltage + rng.gauss(0, 4)
        values: Values = {
            "power_w": power,
            "voltage_v": voltage,
            "current_a": power / voltage,
            "frequency_hz": 50 + 0.02 * daily(now, peak_hour=3) + rng.gauss(0, 0.01),
            "energy_kwh": self._energy(now),
        }
        return replace(self, dip=dip, read_at=now), clipped(values)

    def _energy(self, now: float) -> float:
        turn = 2 * math.pi / 24
        start = math.sin(turn * (INSTALLED_AT / HOUR - self.peak_hour))
        swing = math.sin(turn * (now / HOUR - self.peak_hour)) - start
        return self.mean_w / 1000 * ((now - INSTALLED_AT) / HOUR + SWING * swing / turn)
