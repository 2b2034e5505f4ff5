from random import Random

from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import Backoff


@given(st.integers(0, 10_000), st.integers())
def test_waits_double_up_to_the_cap_and_jitter_stays_inside(attempt: int, seed: int) -> None:
    backoff = Backoff(first=2, cap=60)
    ceiling = backoff.ceiling(attempt)
    assert ceiling == (2, 4, 8, 16, 32, 60)[min(attempt, 5)]
    assert 0 <= backoff.full_jitter(attempt, Random(seed)) <= ceiling
    assert ceiling / 2 <= backoff.half_jitter(attempt, Random(seed)) <= ceiling
