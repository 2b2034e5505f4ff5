"""Every word a state machine knows stands on its page, and the pages name each other."""

import re
from pathlib import Path

import pytest

from devices.models import Approval, Certificate, Device, Renewal
from firmware.models import Release
from firmware.states import CampaignState, PauseReason, StageState, UpdateState, Waiting

FOLDER = Path(__file__).parents[2] / "docs/states"
WORDS = {
    "campaign": [*CampaignState, *PauseReason],
    "stage": [*StageState],
    "update": [*UpdateState, *Waiting],
    "release": Release.State.values,
    "device": Device.State.values,
    "certificate": Certificate.State.values,
    "renewal": Renewal.State.values,
    "approval": Approval.State.values,
    "trusted-key": [],
}


@pytest.mark.parametrize("name", WORDS)
def test_every_state_stands_on_its_page_as_a_word_of_its_own(name):
    told = set(re.findall(r"`([a-z_]+)`", (FOLDER / f"{name}.md").read_text()))
    assert {str(word) for word in WORDS[name] if word} <= told


def test_each_page_is_listed_and_each_listed_page_is_there():
    listed = set(re.findall(r"\(([a-z-]+)\.md\)", (FOLDER / "README.md").read_text()))
    assert listed == set(WORDS) == {path.stem for path in FOLDER.glob("*.md")} - {"README"}


@pytest.mark.parametrize("path", [*FOLDER.glob("*.md"), FOLDER.parent / "firmware.md"], ids=lambda path: path.stem)
def test_links_lead_to_files(path):
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link
