import json
import math

import jsonschema_rs
import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from devices.contract import ContractError
from telemetry import schemas
from telemetry.models import Metric
from telemetry.schemas import Compiled, document
from tests.factories import DeviceTypeFactory, SchemaFactory

Kind = Metric.Kind
METRICS = [
    Metric(position=0, name="level", kind=Kind.NUMBER, minimum=-10, maximum=80),
    Metric(position=1, name="count", kind=Kind.INTEGER, required=False),
    Metric(position=2, name="on", kind=Kind.BOOLEAN, minimum=0, maximum=0, required=False),
    Metric(position=3, name="note", kind=Kind.TEXT, required=False),
]


def compiled(open_=False):
    texts = frozenset({"note"})
    return Compiled(1, ("level", "count", "on"), texts, jsonschema_rs.validator_for(document(METRICS, open_=open_)))


def refused(values, open_=False):
    with pytest.raises(ContractError) as refusal:
        compiled(open_).pack(values)
    return refusal.value.reason, refusal.value.path


def test_numbers_are_packed_by_position_and_texts_beside_them():
    numbers, extra = compiled().pack({"note": "n", "on": True, "level": 4})
    assert (numbers, json.loads(extra)) == ([4.0, None, 1.0], {"note": "n"})
    assert compiled().pack({"level": -10}) == ([-10.0, None, None], None)


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
        ({"level": 1, "on": 1}, "$.values.on"),
        ({"level": 1, "note": 5}, "$.values.note"),
        ({"level": 1, "note": "x" * 1001}, "$.values.note"),
        ({"level": 1, "unnamed": 1}, "$.values"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused_with_its_path(values, path):
    assert refused(values) == ("schema", path)


def test_an_open_schema_keeps_what_it_does_not_name():
    numbers, extra = compiled(open_=True).pack({"level": 1, "unnamed": {"a": [1, None]}})
    assert (numbers[0], json.loads(extra)) == (1.0, {"unnamed": {"a": [1, None]}})


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


@pytest.mark.django_db
class TestVersions:
    def test_schemas_are_found_by_type_and_version(self):
        one, other = SchemaFactory(), SchemaFactory()
        second = SchemaFactory(device_type=one.device_type, version=2)
        found = schemas.of_types([one.device_type_id])
        assert {key: compiled.pk for key, compiled in found.items()} == {
            (one.device_type_id, 1): one.pk,
            (one.device_type_id, 2): second.pk,
        }
        assert (other.device_type_id, 1) not in found

    def test_a_version_is_compiled_once(self):
        kind = SchemaFactory().device_type_id
        first = schemas.of_types([kind])
        assert schemas.of_types([kind])[kind, 1] is first[kind, 1]

    def test_a_version_of_a_type_is_there_once_and_starts_at_one(self):
        kind = DeviceTypeFactory()
        SchemaFactory(device_type=kind)
        for version in (0, 1):
            with pytest.raises(IntegrityError), transaction.atomic():
                SchemaFactory(device_type=kind, version=version)

    def test_a_metric_has_its_place_and_name_alone_and_a_range_that_is_one(self):
        schema = SchemaFactory()
        for changes in ({"position": 0}, {"name": "temperature_c"}, {"minimum": 2, "maximum": 1}):
            told = {"position": 9, "name": "new", "label": "New"} | changes
            with pytest.raises(IntegrityError), transaction.atomic():
                Metric.objects.create(schema=schema, **told)
