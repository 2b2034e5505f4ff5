"""Telling the watchers of many devices in one message, over the real Valkey."""

import pytest

from devices.watching import Megaphone
from tests.telemetry.hearing import Ear

pytestmark = pytest.mark.xdist_group("channels")


def test_one_change_that_cannot_be_sent_stops_no_other():
    ears = [Ear("d-mega-1"), Ear("d-mega-3")]
    Megaphone().tell({"d-mega-1": {"reading": {"ts": 1}}, "d-mega-2": {"reading": object()}, "d-mega-3": {"x": None}})
    assert [ear.next() for ear in ears] == [
        {"device": "d-mega-1", "reading": {"ts": 1}},
        {"device": "d-mega-3", "x": None},
    ]


def test_nothing_to_tell_is_not_told():
    ear = Ear("d-mega-4")
    Megaphone().tell({})
    Megaphone().tell({"d-mega-4": {"x": 1}})
    assert ear.next() == {"device": "d-mega-4", "x": 1}
