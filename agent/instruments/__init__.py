"""What the simulated devices measure: three believable kinds with daily curves, noise and seeded faults. Pure."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from agent.instruments.cold_logger import ColdLogger
from agent.instruments.energy_meter import EnergyMeter
from agent.instruments.instrument import RANGES, Instrument, Values
from agent.instruments.pump import Pump

__all__ = ["KINDS", "RANGES", "Instrument", "Values", "make"]

KINDS: dict[str, Callable[[Random], Instrument]] = {
    "cold-logger": ColdLogger.make,
    "energy-meter": EnergyMeter.make,
    "pump": Pump.make,
}


def make(device_type: str, rng: Random) -> Instrument:
    """An individual of a device type. Raises ValueError for a type nobody has modelled."""
    if device_type not in KINDS:
        raise ValueError(f"no instrument for device type {device_type!r}; there are {', '.join(sorted(KINDS))}")
    return KINDS[device_type](rng)
