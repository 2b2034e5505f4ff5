from uuid import RFC_4122

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.boot import Boot

boots = st.builds(Boot, st.integers(0, 2**48 - 1), st.integers(0, 2**40 - 1))
counters = st.integers(0, 2**34 - 1)


@given(boots, counters)
def test_msg_ids_are_uuids_of_version_8(boot: Boot, counter: int) -> None:
    msg_id = boot.msg_id(counter)
    assert (msg_id.version, msg_id.variant) == (8, RFC_4122)


@given(boots, counters, boots, counters)
def test_msg_ids_ascend_with_boot_and_counter_and_never_repeat(a: Boot, m: int, b: Boot, n: int) -> None:
    left, right = (a.started_ms, a.random, m), (b.started_ms, b.random, n)
    assert (left < right) == (a.msg_id(m).bytes < b.msg_id(n).bytes)
    assert (left == right) == (a.msg_id(m) == b.msg_id(n))


def test_ids_of_one_boot_share_their_first_eleven_bytes() -> None:
    boot = Boot(1_760_000_000_000, 0xABCDEF0123)
    assert {boot.msg_id(n).bytes[:11] for n in range(1000)} == {boot.msg_id(0).bytes[:11]}


def test_boot_id_is_22_hex_digits() -> None:
    assert Boot(1_760_000_000_000, 5).boot_id == "0199c82cc0000000000005"


@pytest.mark.parametrize(("started_ms", "random"), [(-1, 0), (2**48, 0), (0, 2**40)])
def test_numbers_beyond_their_bits_are_refused(started_ms: int, random: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        Boot(started_ms, random)


def test_a_counter_beyond_its_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="counter"):
        Boot(0, 0).msg_id(2**34)
