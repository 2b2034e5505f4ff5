"""Reasons in words: every code that planning leaves devices out by, and those that only a device knows."""

import pytest

from firmware import moving, planning, reasons


@pytest.mark.parametrize("code", [*planning.SKIPS, *moving.OUR_REASONS])
def test_no_code_of_ours_is_shown_as_it_is(code):
    assert reasons.words(code) not in (code, code.replace("_", " ").capitalize())


def test_a_code_of_a_device_is_said_as_it_says_it():
    assert reasons.words("pump_is_dry") == "Pump is dry"
