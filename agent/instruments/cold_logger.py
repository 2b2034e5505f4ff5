"""A logger in a cold room or freezer: the compressor fails, and people leave the door open."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random

from agent.instruments.instrument import DAY, HOUR, Fault, Values, clipped, daily, elapsed, toward


@dataclass(frozen=True, slots=True)
class ColdLogger:
    """Temperature follows what cools or warms the room, with lag."""

    setpoint: float
    temperature: float
    battery_phase: float
    door: Fault
    compressor: Fault
    read_at: float | None = None

    @classmethod
    def make(cls, rng: Random) -> ColdLogger:
        """A freezer (-20 °C) or a cold room (4 °C), somewhere in the life of its battery."""
        setpoint = rng.choice((-20.0, 4.0)) + rng.uniform(-1, 1)
        door = Fault(every=2 * HOUR, shortest=60, longest=4 * 60)
        compressor = Fault(every=24 * HOUR, shortest=20 * 60, longest=HOUR)
        return cls(setpoint, setpoint, rng.random(), door, compressor)

    def read(self, now: float, rng: Random) -> tuple[ColdLogger, Values]:
        """See `Instrument.read`."""
        seconds = elapsed(self.read_at, now)
        door, compressor = self.door.after(seconds, now, rng), self.compressor.after(seconds, now, rng)
        ambient = 20 + 5 * daily(now, peak_hour=14)
        defrost = 0.6 * math.sin(2 * math.pi * now / 1800)
        target, lag = self.setpoint + defrost, 600.0
        if compressor.active(now):
            target, lag = ambient, 40 * 60.0
        if door.active(now):
            target, lag = (target + ambient) / 2, 5 * 60.0
        temperature = toward(self.temperature, target, seconds, lag)
        age = (now / (730 * DAY) + self.battery_phase) % 1
        values: Values = {
            "temperature_c": temperature + rng.gauss(0, 0.05),
            "humidity_pct": (85 if door.active(now) else 62) + 4 * daily(now, peak_hour=6) + rng.gauss(0, 0.8),
            "battery_v": 3.65 - 0.6 * age + rng.gauss(0, 0.004),
            "door_open": door.active(now),
        }
        return replace(self, temperature=temperature, door=door, compressor=compressor, read_at=now), clipped(values)
