import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.contract import ContractError
from telemetry.packing import Compiled, document, example
from telemetry.schema.compatibility import MetricSpec, Vocabulary, mistakes
from tests.telemetry.schema.test_compatibility import messages, vocabularies

METRICS = (
    MetricSpec("level", "number", "Level", "m", -10, 80, required=True),
    MetricSpec("count", "integer", "Count"),
    MetricSpec("on", "boolean", "On", minimum=0, maximum=0),
    MetricSpec("note", "text", "Note"),
)


def compiled(open_=False):
    return Compiled(Vocabulary(METRICS, open_), 1, 1)


def refused(values, open_=False):
    with pytest.raises(ContractError) as refusal:
        compiled(open_).pack(values)
    return refusal.value.reason, refusal.value.path


def test_numbers_are_packed_by_position_and_texts_beside_them():
    numbers, extra = compiled().pack({"note": "n", "on": True, "level": 4})
    assert (numbers, json.loads(extra)) == ([4.0, None, 1.0], {"note": "n"})
    assert compiled().pack({"level": -10}) == ([-10.0, None, None], None)
    assert compiled().pack({"level": 80, "count": 5.0}) == ([80.0, 5.0, None], None)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({}, "$.values"),
        ({"level": 80.1}, "$.values.level"),
        ({"level": -11}, "$.values.level"),
        ({"level": "4"}, "$.values.level"),
        ({"level": True}, "$.values.level"),
        ({"level": None}, "$.values.level"),
        ({"level": 1, "count": 1.5}, "$.values.count"),
        ({"level": 1, "count": None}, "$.values.count"),
        ({"level": 1, "on": 1}, "$.values.on"),
        ({"level": 1, "note": 5}, "$.values.note"),
        ({"level": 1, "note": "x" * 1001}, "$.values.note"),
        ({"level": 1, "unnamed": 1}, "$.values"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused_with_its_path(values, path):
    assert refused(values) == ("schema", path)


def test_an_open_schema_keeps_what_it_does_not_name():
    numbers, extra = compiled(open_=True).pack({"level": 1, "unnamed": {"a": [1, None]}, "note": "n"})
    assert (numbers[0], json.loads(extra)) == (1.0, {"unnamed": {"a": [1, None]}, "note": "n"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_a_number_no_column_holds_is_refused(value):
    assert refused({"level": 1, "count": value})[0] == "schema"
    if not isinstance(value, int):
        assert refused({"level": 1, "unnamed": [value]}, open_=True)[0] == "schema"


def test_a_value_nested_too_deeply_is_refused_and_does_not_crash():
    deep = []
    for _ in range(50_000):
        deep = [deep]
    assert refused({"level": 1, "unnamed": deep}, open_=True)[0] == "schema"


@pytest.mark.parametrize("depth", [200, 300, 900])
def test_what_the_json_schema_itself_cannot_read_is_a_mistake(depth):
    deep = json.loads("[" * depth + "]" * depth)
    for value in (deep, 10**5000):
        assert [each.reason for each in compiled().mistakes({"level": value})] == ["schema"]
        assert refused({"level": value})[0] == "schema"


def test_a_text_no_database_holds_is_refused():
    assert refused({"level": 1, "note": "\ud800"})[0] == "schema"


def test_every_mistake_is_told_with_its_own_path():
    found = compiled().mistakes({"level": 99, "count": "many", "x": 1})
    assert sorted(each.path for each in found) == ["$.values", "$.values.count", "$.values.level"]
    assert len(compiled().mistakes({"level": 99, "count": "many"}, most=1)) == 1
    assert compiled().mistakes({"level": 1}) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["level", "count", "on", "note", "x"]), json_values), st.booleans())
def test_any_values_are_packed_or_refused(values, open_):
    try:
        numbers, extra = compiled(open_).pack(values)
    except ContractError as refusal:
        numbers, extra = [refusal.reason] * 3, None
    assert numbers == ["schema"] * 3 or all(number is None or math.isfinite(number) for number in numbers)
    assert extra is None or isinstance(json.loads(extra), dict)


NUMBERS = [0, 1, 1.0, 1.5, -0.0, 2, 3, 5.0, -3, -3.0, -3.0000000001, 2**53 + 1, -(2**63), 10**400, -(10**400)]
NUMBERS += [1.7976931348623157e308, math.nan, math.inf, -math.inf, True, False]
TEXTS = ["", "x", "x" * 1000, "é" * 1000, "x" * 1001, "😀" * 1000, "\ud800"]
edges = st.sampled_from([*NUMBERS, *TEXTS, None, [], {}, [1]])


def outcome(pack, values):
    try:
        numbers, extra = pack(values)
    except ContractError as error:
        return error.reason, error.detail, error.path
    return [(number, math.copysign(1, number or 0)) for number in numbers], json.loads(extra or "{}")


@st.composite
def judged(draw):
    """A version, and a message that is mostly what it takes, with something odd for one of its metrics."""
    vocabulary = draw(vocabularies)
    values = draw(messages(vocabulary))
    names = [metric.name for metric in vocabulary.metrics] or ["x"]
    odd = draw(st.dictionaries(st.sampled_from(names), edges | json_values, max_size=1))
    return vocabulary, values | odd


@settings(max_examples=200, deadline=None)
@given(judged())
def test_the_short_way_gives_the_verdict_of_the_long_one(told):
    """`pack` judges plain messages itself; `_pack_any` asks the JSON Schema about each."""
    vocabulary, values = told
    one = Compiled(vocabulary)
    assert outcome(one.pack, values) == outcome(one._pack_any, values)


@pytest.mark.parametrize("low", [None, 0.5, 5])
@pytest.mark.parametrize("kind", ["number", "integer", "boolean", "text"])
def test_the_short_way_at_its_edges(kind, low):
    ranged = {"minimum": low, "maximum": None if low is None else 2.0**53}
    for required in (True, False):
        one = Compiled(Vocabulary((MetricSpec("a", kind, "A", required=required, **ranged),), open=not required))
        for odd in (*NUMBERS, *TEXTS, None, [], {}):
            assert outcome(one.pack, {"a": odd}) == outcome(one._pack_any, {"a": odd}), odd


def test_the_document_tells_a_firmware_developer_what_to_send():
    told = document(Vocabulary(METRICS))
    assert told["required"] == ["level"] and told["additionalProperties"] is False
    level = {"title": "Level", "description": "In m", "type": "number", "minimum": -10, "maximum": 80}
    assert told["properties"]["level"] == level
    assert told["properties"]["on"] == {"title": "On", "type": "boolean"}
    assert json.dumps(told)


@settings(max_examples=50, deadline=None)
@given(vocabularies)
def test_the_example_is_taken_and_names_every_metric(vocabulary):
    values = example(vocabulary)
    Compiled(vocabulary).pack(values)
    assert list(values) == [metric.name for metric in vocabulary.metrics]


@pytest.mark.parametrize(
    ("kind", "low", "high", "expected"),
    [
        ("number", -60, 80, 10),
        ("number", 0.001, 0.002, 0.0015),
        ("number", None, -5, -5),
        ("number", 7.5, None, 7.5),
        ("number", None, None, 1),
        ("number", -1.7e308, 1.7e308, 0),
        ("integer", 0.5, 1.5, 1),
        ("integer", 1.5, None, 2),
        ("integer", None, 1.5, 1),
        ("integer", 0.6, 2.2, 1),
        ("boolean", None, None, True),
        ("text", None, None, "text"),
    ],
)
def test_examples_lie_in_the_middle_of_a_range(kind, low, high, expected):
    metric = MetricSpec("a", kind, "A", minimum=low, maximum=high)
    assert mistakes(Vocabulary((metric,))) == []
    assert example(Vocabulary((metric,))) == {"a": expected}
    Compiled(Vocabulary((metric,))).pack({"a": expected})
