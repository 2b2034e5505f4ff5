import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from telemetry.models import Metric, Schema
from telemetry.schema import changes as schema_changes
from telemetry.schema import schemas
from telemetry.store import store
from tests.factories import DeviceFactory, DeviceTypeFactory, SchemaFactory
from tests.telemetry.messages import row

pytestmark = pytest.mark.django_db


def test_schemas_are_found_by_type_and_version():
    one, other = SchemaFactory(), SchemaFactory()
    second = SchemaFactory(device_type=one.device_type, version=2)
    found = schemas.of_types([one.device_type_id])
    assert {key: compiled.pk for key, compiled in found.items()} == {
        (one.device_type_id, 1): one.pk,
        (one.device_type_id, 2): second.pk,
    }
    assert (other.device_type_id, 1) not in found


def test_a_revision_is_compiled_once_and_then_costs_one_query():
    kind = SchemaFactory().device_type_id
    first = schemas.of_types([kind])
    with CaptureQueriesContext(connection) as queries:
        assert schemas.of_types([kind])[kind, 1] is first[kind, 1]
    assert len(queries) == 1
    with CaptureQueriesContext(connection) as queries:
        assert schemas.of_types([]) == {}
    assert len(queries) == 0


def test_a_change_is_seen_with_the_next_batch():
    version = SchemaFactory()
    before = schemas.of_types([version.device_type_id])
    wanted = schemas.vocabulary(version)
    schema_changes.change(version, type(wanted)(wanted.metrics, open=True), revision=1, user=None)
    after = schemas.of_types([version.device_type_id])
    key = (version.device_type_id, 1)
    assert not before[key].vocabulary.open and after[key].vocabulary.open
    assert (before[key].revision, after[key].revision) == (1, 2)


def test_an_older_revision_never_takes_the_place_of_a_newer_one(monkeypatch):
    """Two threads: the slower one has read before the change."""
    version, compile_row, turns = SchemaFactory(), schemas.compiled, []

    def slowly(row):
        made = compile_row(row)
        if not turns:
            turns.append(row.revision)
            wanted = schemas.vocabulary(row)
            schema_changes.change(version, type(wanted)(wanted.metrics, open=True), revision=1, user=None)
            schemas.of_types([version.device_type_id])
        return made

    monkeypatch.setattr(schemas, "compiled", slowly)
    found = schemas.of_types([version.device_type_id])
    assert (turns, found[version.device_type_id, 1].revision) == ([1], 2)


def test_the_numbers_of_a_reading_have_names_in_stored_order():
    one, other = SchemaFactory(), SchemaFactory()
    names = ["temperature_c", "humidity_pct", "door_open"]
    assert schemas.numeric_names([one.pk, other.pk, one.pk]) == {one.pk: names, other.pk: names}
    with CaptureQueriesContext(connection) as queries:
        schemas.numeric_names([one.pk])
    assert len(queries) == 1
    assert schemas.numeric_names([]) == schemas.numeric_names([32000]) == {}


class TestDatabase:
    """What holds whoever writes."""

    def refused(self, act):
        with pytest.raises(IntegrityError), transaction.atomic():
            act()

    def test_a_version_of_a_type_is_there_once_and_starts_at_one(self):
        kind = DeviceTypeFactory()
        SchemaFactory(device_type=kind)
        for version in (0, 1):
            self.refused(lambda version=version: SchemaFactory(device_type=kind, version=version))

    def test_a_metric_has_its_place_and_name_alone_and_a_range_that_is_one(self):
        schema = SchemaFactory()
        wrong = [{"position": 0}, {"name": "temperature_c"}, {"minimum": 2, "maximum": 1}, {"name": "Large"}]
        for changes in [*wrong, {"name": "a\nb"}, {"position": 200}]:
            told = {"position": 9, "name": "new", "label": "New"} | changes
            self.refused(lambda told=told: Metric.objects.create(schema=schema, **told))

    @pytest.mark.parametrize(
        "changes",
        [
            {"position": 9},
            {"name": "other"},
            {"unit": "K"},
            {"kind": Metric.Kind.INTEGER},
            {"minimum": -59},
            {"maximum": 79},
        ],
    )
    def test_what_gives_a_stored_number_its_meaning_stays(self, changes):
        rows = Metric.objects.filter(schema=SchemaFactory(), name="temperature_c")
        self.refused(lambda: rows.update(**changes))

    def test_a_metric_is_never_deleted_nor_required_later_nor_moved_to_another_version(self):
        schema, other = SchemaFactory(), SchemaFactory()
        rows = Metric.objects.filter(schema=schema, name="note")
        self.refused(rows.delete)
        self.refused(lambda: rows.update(required=True))
        self.refused(lambda: rows.update(schema=other, position=9, name="n"))
        rows.update(label="New words", required=False)
        Metric.objects.filter(schema=schema, name="temperature_c").update(minimum=None, maximum=99, required=False)

    def test_a_metric_joins_at_the_end(self):
        schema = Schema.objects.create(device_type=DeviceTypeFactory(), version=1)
        Metric.objects.create(schema=schema, position=5, name="a", label="A")
        self.refused(lambda: Metric.objects.create(schema=schema, position=4, name="b", label="B"))
        Metric.objects.create(schema=schema, position=6, name="b", label="B")

    def test_what_joins_a_version_in_use_is_optional(self, days):
        device, revised = DeviceFactory(), SchemaFactory()
        Schema.objects.filter(pk=revised.pk).update(revision=2)
        used = SchemaFactory(device_type=device.device_type)
        store([row(device, used)])
        for schema in (used, revised):
            told = {"schema": schema, "position": 9, "name": "new", "label": "New"}
            self.refused(lambda told=told: Metric.objects.create(**told))
            Metric.objects.create(**told, required=False)

    def test_a_version_keeps_its_type_and_number_stays_open_and_counts_upwards(self):
        rows = Schema.objects.filter(pk=SchemaFactory(open=True).pk)
        rows.update(revision=3)
        for changes in ({"version": 2}, {"device_type": DeviceTypeFactory()}, {"open": False}, {"revision": 2}):
            self.refused(lambda changes=changes: rows.update(**changes))
        rows.update(revision=4)
