import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instruments import KINDS, RANGES, Instrument, Values, make
from agent.instruments.cold_logger import ColdLogger
from agent.instruments.energy_meter import EnergyMeter
from agent.instruments.instrument import HOUR, Fault
from agent.instruments.pump import Pump

METRICS = {
    "cold-logger": {"temperature_c", "humidity_pct", "battery_v", "door_open"},
    "energy-meter": {"power_w", "voltage_v", "current_a", "frequency_hz", "energy_kwh"},
    "pump": {"flow_lpm", "pressure_bar", "vibration_mm_s", "motor_temp_c", "running"},
}
START = 1_760_000_000.0
NEVER, ALWAYS = Fault(math.inf, 1, 1), Fault(math.inf, 1, math.inf, until=math.inf)


def series(instrument: Instrument, times: list[float], seed: object = 0) -> list[Values]:
    answers = []
    for number, now in enumerate(times):
        instrument, values = instrument.read(now, Random(f"{seed}/{number}"))
        answers.append(values)
    return answers


def hours(count: float, every: float = 60) -> list[float]:
    return [START + every * n for n in range(int(count * HOUR / every))]


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(seed=st.integers(), times=st.lists(st.floats(0, 4e9), min_size=1, max_size=30))
def test_values_stay_in_range_whatever_the_clock_does(kind: str, seed: int, times: list[float]) -> None:
    for values in series(make(kind, Random(seed)), times, seed):
        assert set(values) == METRICS[kind]
        for name, value in values.items():
            if not isinstance(value, bool):
                assert RANGES[name][0] <= value <= RANGES[name][1]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_values_stay_in_range_over_a_year_of_faults(kind: str) -> None:
    for values in series(make(kind, Random(7)), hours(24 * 365, every=600)):
        assert all(RANGES[n][0] <= v <= RANGES[n][1] for n, v in values.items() if not isinstance(v, bool))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_same_seed_tells_the_same_story(kind: str) -> None:
    first, second, other = (series(make(kind, Random(seed)), hours(2), seed) for seed in (1, 1, 2))
    assert first == second != other


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="toaster"):
        make("toaster", Random(0))


def logger(door: Fault = NEVER, compressor: Fault = NEVER) -> ColdLogger:
    return ColdLogger(4.0, 4.0, 0.5, door, compressor)


def test_a_healthy_cold_room_stays_cold() -> None:
    assert all(2 < values["temperature_c"] < 6 for values in series(logger(), hours(48)))


def test_a_failed_compressor_lets_it_warm_up_steadily() -> None:
    temperatures = [values["temperature_c"] for values in series(logger(compressor=ALWAYS), hours(2, every=600))]
    assert temperatures == sorted(temperatures)
    assert temperatures[-1] > 12


def test_an_open_door_is_reported_and_felt() -> None:
    last = series(logger(door=ALWAYS), hours(0.2, every=10))[-1]
    assert last["door_open"] is True
    assert last["temperature_c"] > 7


@given(st.integers(), st.lists(st.floats(START, START + 1e8), min_size=2, max_size=20))
def test_the_energy_counter_never_runs_backwards_and_survives_restarts(seed: int, times: list[float]) -> None:
    counters = [make("energy-meter", Random(seed)).read(now, Random(0))[1]["energy_kwh"] for now in sorted(times)]
    assert counters == sorted(counters)


def test_the_energy_counter_is_the_integral_of_the_power() -> None:
    meter = EnergyMeter(1000, 18, NEVER)
    day = series(meter, hours(24))
    assert day[-1]["energy_kwh"] - day[0]["energy_kwh"] == pytest.approx(24, rel=0.02)
    assert sum(values["power_w"] for values in day) / len(day) == pytest.approx(1000, rel=0.02)


def test_a_phase_dip_lowers_the_voltage() -> None:
    assert all(values["voltage_v"] < 190 for values in series(EnergyMeter(1000, 18, ALWAYS), hours(1)))
    assert all(values["voltage_v"] > 220 for values in series(EnergyMeter(1000, 18, NEVER), hours(24)))


def test_a_worn_bearing_shows_in_vibration_and_heat() -> None:
    healthy = series(Pump(120, 0, NEVER), hours(4))
    worn = series(Pump(120, 0, ALWAYS), hours(4))
    assert max(values["vibration_mm_s"] for values in healthy) < 3
    assert max(values["vibration_mm_s"] for values in worn) > 8
    assert max(values["motor_temp_c"] for values in worn) > max(values["motor_temp_c"] for values in healthy) + 8


def test_a_pump_at_rest_moves_nothing() -> None:
    resting = [values for values in series(Pump(120, 0, NEVER), hours(4)) if not values["running"]]
    assert resting
    assert all(values["flow_lpm"] == 0 and values["vibration_mm_s"] < 1 for values in resting)


def test_faults_begin_about_as_often_as_they_should_and_end() -> None:
    fault, begun, now, active = Fault(every=HOUR, shortest=60, longest=120), 0, START, False
    rng = Random(3)
    for _ in range(100_000):
        fault, now = fault.after(10, now, rng), now + 10
        begun += fault.active(now) and not active
        active = fault.active(now)
    assert 200 < begun < 350


def test_a_clock_set_back_by_years_ends_a_fault() -> None:
    fault = Fault(every=math.inf, shortest=60, longest=120, until=START + 100)
    assert not fault.after(0, START - 1e8, Random(0)).active(START - 1e8)
