"""What a version takes without a stored array losing its meaning, and the promises that follow from it."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from devices.contract import ContractError
from telemetry.packing import Compiled
from telemetry.schema.compatibility import MAX_METRICS, MetricSpec, Vocabulary, mistakes, violations

LEVEL = MetricSpec("level", "number", "Level", "m", -10, 80, required=True)
COUNT = MetricSpec("count", "integer", "Count")
NOTE = MetricSpec("note", "text", "Note")
OLD = Vocabulary((LEVEL, COUNT, NOTE))
NEW = MetricSpec("new", "number", "New")


def found(*metrics, open_=False, old=OLD):
    return [(each.metric, each.attribute) for each in violations(old, Vocabulary(metrics, open_), 4)]


@pytest.mark.parametrize(
    "metrics",
    [
        (LEVEL, COUNT, NOTE),
        (replace(LEVEL, label="Fill level"), COUNT, NOTE),
        (LEVEL, COUNT, NOTE, NEW),
        (replace(LEVEL, required=False), COUNT, NOTE),
        (replace(LEVEL, minimum=-11, maximum=80.5), COUNT, NOTE),
        (replace(LEVEL, minimum=None, maximum=None), COUNT, NOTE),
    ],
)
def test_what_refuses_no_message_and_moves_no_number_is_compatible(metrics):
    assert found(*metrics) == []
    assert found(*metrics, open_=True) == []


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ((LEVEL, COUNT), ("note", "name")),
        ((LEVEL, replace(COUNT, name="counter"), NOTE), ("count", "name")),
        ((COUNT, LEVEL, NOTE), ("level", "position")),
        ((LEVEL, NEW, COUNT, NOTE), ("new", "position")),
        ((LEVEL, replace(COUNT, kind="number"), NOTE), ("count", "kind")),
        ((replace(LEVEL, unit="cm"), COUNT, NOTE), ("level", "unit")),
        ((replace(LEVEL, minimum=-9), COUNT, NOTE), ("level", "minimum")),
        ((replace(LEVEL, maximum=79.9), COUNT, NOTE), ("level", "maximum")),
        ((LEVEL, replace(COUNT, minimum=0), NOTE), ("count", "minimum")),
        ((LEVEL, COUNT, replace(NOTE, required=True)), ("note", "required")),
        ((LEVEL, COUNT, NOTE, replace(NEW, required=True)), ("new", "required")),
    ],
)
def test_everything_else_is_not_and_says_where(metrics, expected):
    assert expected in found(*metrics)


def test_an_open_version_stays_open_and_takes_no_new_names():
    """Devices may send the new name already, in a form that would be refused from then on."""
    was_open = Vocabulary(OLD.metrics, open=True)
    assert found(*OLD.metrics, old=was_open) == [("", "open")]
    assert found(*OLD.metrics, NEW, open_=True, old=was_open) == [("new", "name")]


def test_a_violation_says_what_is_wrong_and_what_to_do():
    (one,) = violations(OLD, Vocabulary((replace(LEVEL, maximum=70), COUNT, NOTE)), 4)
    assert str(one) == "Was 80: larger values would be refused. Keep it, or cut version 4."


@pytest.mark.parametrize(
    ("metric", "attribute"),
    [
        (replace(LEVEL, name="Level"), "name"),
        (replace(LEVEL, name="x" * 64), "name"),
        (replace(LEVEL, name="a\n"), "name"),
        (replace(NEW, kind="float"), "kind"),
        (replace(LEVEL, label=" "), "label"),
        (replace(LEVEL, label="a\0"), "label"),
        (replace(LEVEL, unit="x" * 21), "unit"),
        (replace(LEVEL, minimum=float("nan")), "minimum"),
        (replace(LEVEL, maximum=float("inf")), "maximum"),
        (replace(LEVEL, maximum=-11), "maximum"),
        (replace(NOTE, maximum=1), "maximum"),
        (MetricSpec("n", "integer", "N", minimum=0.2, maximum=0.8), "maximum"),
    ],
)
def test_what_no_version_may_say(metric, attribute):
    assert [each.attribute for each in mistakes(Vocabulary((metric,)))] == [attribute]


def test_names_are_there_once_and_there_is_something_to_say_and_an_end_to_it():
    assert mistakes(OLD) == []
    assert [(each.metric, each.attribute) for each in mistakes(Vocabulary((LEVEL, LEVEL)))] == [("level", "name")]
    assert [each.attribute for each in mistakes(Vocabulary(()))] == ["metrics"]
    assert mistakes(Vocabulary((), open=True)) == []
    many = tuple(replace(COUNT, name=f"n{number}") for number in range(MAX_METRICS + 1))
    assert [each.attribute for each in mistakes(Vocabulary(many))] == ["metrics"]
    assert mistakes(Vocabulary(many[:-1])) == []


bounds = st.none() | st.integers(-3, 3).map(float)
specs = st.builds(
    MetricSpec,
    name=st.sampled_from("abcde"),
    kind=st.sampled_from(["number", "integer", "boolean", "text"]),
    label=st.sampled_from(["One", "Two"]),
    unit=st.sampled_from(["", "m"]),
    minimum=bounds,
    maximum=bounds,
    required=st.booleans(),
)
vocabularies = st.builds(
    Vocabulary, st.lists(specs, max_size=4, unique_by=lambda each: each.name).map(tuple), st.booleans()
).filter(lambda each: not mistakes(each))


rarely = st.integers(0, 19).map(lambda number: number == 13)


def wider(draw, metric):
    """A change of one metric that mostly refuses nothing."""
    low, high = metric.minimum, metric.maximum
    if metric.kind in {"number", "integer"}:
        low = draw(st.sampled_from([None, low, low, None if low is None else low - 1]))
        high = draw(st.sampled_from([None, high, high, None if high is None else high + 1]))
        if draw(rarely):
            low = -1.0
    required = draw(st.booleans()) if draw(rarely) else metric.required and draw(st.booleans())
    return replace(metric, label=draw(st.sampled_from(["One", "Three"])), required=required, minimum=low, maximum=high)


@st.composite
def changed(draw, old):
    """Mostly compatible, sometimes not in one of the ways there are."""
    metrics = [wider(draw, metric) for metric in old.metrics]
    taken = {metric.name for metric in metrics}
    free = [
        each for each in draw(st.lists(specs, max_size=2, unique_by=lambda one: one.name)) if each.name not in taken
    ]
    if not old.open or draw(rarely):
        metrics += [replace(each, required=each.required and draw(rarely)) for each in free]
    if draw(rarely):
        metrics = draw(st.permutations(metrics))[: draw(st.integers(0, 6))]
    return Vocabulary(tuple(metrics), old.open or draw(st.booleans()))


FITTING = {
    "number": st.sampled_from([0, 0.5, -1, 2.0, -3, 4]),
    "integer": st.sampled_from([0, 1.0, -1, 2, -3, 4, 1.5]),
    "boolean": st.booleans(),
    "text": st.text(max_size=3),
}


@st.composite
def messages(draw, vocabulary):
    """Mostly what the vocabulary takes."""
    values = {
        each.name: draw(FITTING[each.kind]) for each in vocabulary.metrics if each.required or draw(st.booleans())
    }
    if draw(st.booleans()):
        values |= draw(
            st.dictionaries(st.sampled_from("abcdef"), st.none() | st.sampled_from([1, 10**400, "x", [1]]), max_size=1)
        )
    return values


def judged(vocabulary, values):
    try:
        numbers, extra = Compiled(vocabulary).pack(values)
    except ContractError:
        return None
    return numbers, json.loads(extra or "{}")


def compatible(old, new):
    return not mistakes(new) and not violations(old, new, 2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data())
def test_what_was_taken_before_a_compatible_change_is_taken_after_it_with_the_same_numbers_in_the_same_places(data):
    old = data.draw(vocabularies)
    new = data.draw(changed(old))
    values = data.draw(messages(old))
    before = judged(old, values)
    assume(before is not None and compatible(old, new))
    after = judged(new, values)
    assert after is not None
    assert after[0][: len(before[0])] == before[0]
    assert set(after[0][len(before[0]) :]) <= {None}
    assert after[1] == before[1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data())
def test_compatible_changes_after_each_other_are_one_compatible_change(data):
    first = data.draw(vocabularies)
    second = data.draw(changed(first))
    assume(compatible(first, second))
    third = data.draw(changed(second))
    assume(compatible(second, third))
    assert compatible(first, third)


@settings(max_examples=40, deadline=None)
@given(vocabularies)
def test_no_change_is_compatible(vocabulary):
    assert compatible(vocabulary, vocabulary)
