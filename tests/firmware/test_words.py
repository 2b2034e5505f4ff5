"""What the owner of a device is told of an update."""

import pytest

from firmware.api import words
from firmware.api.words import Words
from firmware.states import ACTIVE, UpdateState, Waiting

U, W = UpdateState, Waiting


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ((U.QUEUED, W.OFFLINE), Words("will be offered when it comes online", "none", False)),
        ((U.QUEUED, W.POWER), Words("waits for enough power", "warning", False)),
        ((U.QUEUED,), Words("is being offered", "info", False, True)),
        ((U.DOWNLOADING, "", "", 42), Words("downloading 42 %", "info", False, True)),
        ((U.DOWNLOADING,), Words("downloading", "info", False, True)),
        ((U.VERIFYING,), Words("installed, being watched", "info", False, True)),
        ((U.SUCCEEDED, "", "already_installed"), Words("installed", "good", True)),
        ((U.SKIPPED, "", "already_installed"), Words("was installed already", "none", True)),
        ((U.FAILED, "", "self_check"), Words("failed: the new version did not pass its self-check", "bad", True)),
        ((U.FAILED, "", "a riddle"), Words("failed", "bad", True)),
        ((U.ROLLED_BACK, "", "", None, "1.0.0"), Words("was taken back to 1.0.0", "warning", True)),
        ((U.ROLLED_BACK,), Words("was taken back", "warning", True)),
    ],
)
def test_says_it_in_their_words(told, expected):
    assert words.of(*told) == expected


def test_has_words_for_every_state_and_everything_that_is_waited_for():
    for state in UpdateState:
        said = words.of(state)
        assert said.text
        assert said.over == (state not in ACTIVE), state
    waits = {words.of(U.QUEUED, each).text for each in Waiting if each}
    assert len(waits) == len(Waiting) - 1
