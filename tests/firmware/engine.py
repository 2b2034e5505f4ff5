"""Campaigns in a few words, for the tables of the engine's tests: a plan, a stage, a tally, and what is decided."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta

from firmware.rollout import OpenStage, Plan, Progress, Tally, decide
from firmware.states import CampaignState, StageState

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_PLAN = {each.name for each in fields(Plan)}
_STAGE = {each.name for each in fields(OpenStage)}
_TALLY = {each.name for each in fields(Tally)}


def judged(state=CampaignState.RUNNING, *, stopped=False, alerted=False, opened=True, age=HOUR, watched=None, **words):
    """The decision on a campaign; each word finds its own dataclass.

    `age` is that of the stage, `watched` since when it soaks. `executed` devices that succeeded are in all the counts.
    """
    plan = Plan(**{name: value for name, value in words.items() if name in _PLAN})
    stage = {"number": 2, "size": 10, "state": StageState.ROLLING, "soak": 30 * MINUTE, "started_at": NOW - age}
    if watched is not None:
        stage |= {"state": StageState.SOAKING, "soak_from": NOW - watched}
    stage |= {name: value for name, value in words.items() if name in _STAGE}
    progress = Progress(state, stopped, OpenStage(**stage) if opened else None, tally(**words), alerted)
    return decide(plan, progress, NOW)


def tally(**words):
    """A tally that makes sense: what succeeded is evidence, and there are targets."""
    counted = {"targets": 100, "stage_succeeded": words.get("succeeded", 0)}
    return Tally(**counted | {name: value for name, value in words.items() if name in _TALLY})


def step(*arguments, **words):
    """Action and gate alone."""
    decision = judged(*arguments, **words)
    return decision.action.value, decision.gate.value
