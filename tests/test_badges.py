"""One word, one colour, in the whole product; and every one of them can be read, in light and dark (WCAG AA)."""

import re

import pytest

from devices.models import Approval, Certificate, Device, Renewal
from firmware.models import Hold, Release
from firmware.states import CampaignState, StageState, UpdateState
from tests.test_house import ROOT

CSS = (ROOT / "static/badges.css").read_text()
STATES = [
    *CampaignState, *StageState, *UpdateState, *Release.State.values, *Hold.Kind.values,
    *Device.State.values, *Certificate.State.values, *Renewal.State.values, *Approval.State.values,
]  # fmt: skip
_RULE = re.compile(r"([^{}]+)\{\s*--tone: var\(--(\w+)\); --tone-soft: var\(--(\w+)-soft\); \}")
_PAIR = re.compile(r"--([\w-]+): (?:light-dark\((#\w+), (#\w+)\)|(#\w+));")
COLOURS = {name: (light or both, dark or both) for name, light, dark, both in _PAIR.findall(CSS)}
TONES = ("green", "blue", "amber", "red", "violet", "grey")


def colours() -> dict[str, set[str]]:
    """State → colours it has."""
    found: dict[str, set[str]] = {}
    for selector, tone, soft in _RULE.findall(CSS):
        assert tone == soft
        for state in re.findall(r"\.badge-(\w+)", selector):
            found.setdefault(state, set()).add(tone)
    return found


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it."""
    text = colour.lstrip("#")
    text = "".join(each * 2 for each in text) if len(text) == 3 else text[:6]
    parts = [int(text[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("state", sorted({str(state) for state in STATES}))
def test_every_state_has_one_colour(state):
    if state != "cancelled":  # nobody has to look at these renewals: the plain badge
        assert len(colours().get(state, ())) == 1


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("tone", TONES)
def test_every_colour_can_be_read_on_its_ground_and_on_the_page(tone, scheme):
    text = COLOURS[tone][scheme]
    grounds = [COLOURS[name][scheme] for name in (f"{tone}-soft", "surface", "page", "raised")]
    assert min(contrast(text, ground) for ground in grounds) >= 4.5


def test_what_went_well_and_what_went_wrong_look_different():
    found = {state: tone for state, tones in colours().items() for tone in tones}
    assert {found[state] for state in ("succeeded", "completed", "passed", "ready")} == {"green"}
    assert {found[state] for state in ("failed", "timed_out", "rejected", "rollback_incomplete")} == {"red"}
    assert {found[state] for state in ("rolling_back", "rolled_back")} == {"violet"}
    assert found["paused"] == "amber"
    assert contrast("#000", "#fff") == pytest.approx(21)
