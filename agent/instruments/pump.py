"""A water pump that runs by demand; its bearing wears until somebody repairs it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from agent.instruments.instrument import HOUR, Fault, Values, clipped, daily, elapsed, toward

CYCLE = 20 * 60.0
"""Seconds from one start of the pump to the next."""


@dataclass(frozen=True, slots=True)
class Pump:
    """Wear grows from 0 to 1 within two hours of running with a bad bearing, and shows in vibration and heat."""

    rated_flow: float
    phase: float
    bearing: Fault
    motor_temp: float = 20.0
    wear: float = 0.0
    read_at: float | None = None

    @classmethod
    def make(cls, rng: Random) -> Pump:
        """A pump of 80 to 240 l/min."""
        return cls(rng.uniform(80, 240), rng.random(), Fault(every=40 * HOUR, shortest=HOUR, longest=3 * HOUR))

    def read(self, now: float, rng: Random) -> tuple[Pump, Values]:
        """See `Instrument.read`."""
        seconds = elapsed(self.read_at, now)
        bearing = self.bearing.after(seconds, now, rng)
        demand = 0.65 + 0.25 * daily(now, peak_hour=7)
        running = (now / CYCLE + self.phase) % 1 < demand
        wear = min(1.0, self.wear + running * seconds / (2 * HOUR)) if bearing.active(now) else 0.0
        ambient = 16 + 6 * daily(now, peak_hour=15)
        motor_temp = toward(self.motor_temp, ambient + running * (34 + 25 * wear), seconds, 15 * 60)
        values: Values = {
            "flow_lpm": running * self.rated_flow * (0.9 + 0.1 * demand) * (1 - 0.1 * wear) + running * rng.gauss(0, 1),
            "pressure_bar": 1.2 + running * 3.4 * (1 - 0.08 * wear) + rng.gauss(0, 0.03),
            "vibration_mm_s": abs(0.1 + running * (1.7 + 9 * wear) + rng.gauss(0, 0.12)),
            "motor_temp_c": motor_temp + rng.gauss(0, 0.2),
            "running": running,
        }
        return replace(self, bearing=bearing, motor_temp=motor_temp, wear=wear, read_at=now), clipped(values)
