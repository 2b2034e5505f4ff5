"""Changing versions and cutting new ones, two people at once included."""

import threading
from dataclasses import replace

import pytest
from django.db import connection, connections, transaction

from devices.models import Event
from telemetry.ingest import store_batch
from telemetry.models import Schema
from telemetry.schema import changes, schemas
from telemetry.schema.changes import ChangedMeanwhile, SchemaRefused
from telemetry.schema.compatibility import MetricSpec, Vocabulary
from tests.factories import DeviceFactory, DeviceTypeFactory, SchemaFactory, UserFactory
from tests.telemetry.messages import envelope, message

NEW = MetricSpec("rssi", "integer", "Signal", "dBm", -130, 0)


def now_says(row):
    return schemas.vocabulary(Schema.objects.prefetch_related("metrics").get(pk=row.pk))


def added(row, *metrics):
    told = now_says(row)
    return replace(told, metrics=(*told.metrics, *metrics))


@pytest.mark.django_db
class TestChange:
    def test_a_compatible_change_is_written_counted_and_leaves_evidence(self):
        row, user = SchemaFactory(), UserFactory(username="robin")
        old = now_says(row)
        first = replace(old.metrics[0], label="Temperature", maximum=90.0, required=False)
        wanted = Vocabulary((first, *old.metrics[1:], NEW), open=True)
        assert changes.change(row, wanted, revision=1, user=user, reason="New probe")
        assert now_says(row) == wanted
        row.refresh_from_db()
        assert row.revision == 2 and row.changed_at > row.created_at
        event = Event.objects.get(kind="schema.changed")
        assert (event.user, event.reason, event.detail["revision"]) == (user, "New probe", 2)
        assert event.detail["old"]["metrics"]["temperature_c"]["maximum"] == 80
        assert event.detail["new"]["metrics"]["temperature_c"]["maximum"] == 90
        assert "humidity_pct" not in event.detail["new"]["metrics"] and "rssi" not in event.detail["old"]["metrics"]

    def test_what_is_not_compatible_is_refused_whole_with_every_violation(self):
        row = SchemaFactory()
        old = now_says(row)
        wanted = Vocabulary((replace(old.metrics[0], unit="K"), *old.metrics[1:], replace(NEW, required=True)))
        with pytest.raises(SchemaRefused) as refusal:
            changes.change(row, wanted, revision=1, user=None)
        found = [(each.metric, each.attribute) for each in refusal.value.violations]
        assert found == [("temperature_c", "unit"), ("rssi", "required")]
        assert "cut version 2" in str(refusal.value)
        assert now_says(row) == old and not Event.objects.filter(kind="schema.changed").exists()

    def test_what_makes_no_sense_is_refused(self):
        row = SchemaFactory()
        with pytest.raises(SchemaRefused, match="People read this"):
            changes.change(row, added(row, replace(NEW, label="")), revision=1, user=None)

    def test_no_change_is_no_revision(self):
        row = SchemaFactory()
        assert not changes.change(row, now_says(row), revision=1, user=None)
        row.refresh_from_db()
        assert row.revision == 1

    def test_a_wish_made_upon_an_older_revision_changes_nothing(self):
        row = SchemaFactory()
        wanted = added(row, NEW)
        changes.change(row, wanted, revision=1, user=None)
        with pytest.raises(ChangedMeanwhile, match="revision 1 became 2"):
            changes.change(row, wanted, revision=1, user=None)

    def test_the_first_metric_of_an_empty_version_is_in_place_zero(self):
        row = Schema.objects.create(device_type=DeviceTypeFactory(), version=1)
        changes.change(row, Vocabulary((NEW,)), revision=1, user=None)
        assert row.metrics.get().position == 0


@pytest.mark.django_db
class TestCut:
    def test_a_new_version_says_anything(self):
        row, user = SchemaFactory(), UserFactory()
        wanted = Vocabulary((replace(NEW, required=True),), open=True)
        made = changes.cut(row.device_type, wanted, version=2, user=user, reason="Other probe")
        assert (made.version, made.revision, now_says(made)) == (2, 1, wanted)
        event = Event.objects.get(kind="schema.cut")
        assert (event.user, event.reason, event.detail["id"]) == (user, "Other probe", made.pk)

    def test_the_first_version_of_a_type(self):
        assert changes.cut(DeviceTypeFactory(), Vocabulary((NEW,)), version=1, user=None).version == 1

    @pytest.mark.parametrize("version", [1, 3])
    def test_only_the_next_number_is_cut(self, version):
        kind = SchemaFactory().device_type
        with pytest.raises(ChangedMeanwhile, match=f"Version {version}"):
            changes.cut(kind, Vocabulary((NEW,)), version=version, user=None)
        assert kind.schemas.count() == 1

    def test_numbers_end_where_an_envelope_can_name_no_more(self):
        kind = SchemaFactory(version=32767).device_type
        with pytest.raises(SchemaRefused, match="end at 32767"):
            changes.cut(kind, Vocabulary((NEW,)), version=32768, user=None)

    def test_nonsense_is_refused(self):
        with pytest.raises(SchemaRefused):
            changes.cut(DeviceTypeFactory(), Vocabulary(()), version=1, user=None)


def at_once(*acts):
    """Each in a thread with a connection of its own, let go at the same moment. Returns what each ended with."""
    ready, ended = threading.Barrier(len(acts)), [None] * len(acts)

    def run(number, act):
        try:
            ready.wait(10)
            ended[number] = act()
        except Exception as error:
            ended[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return ended


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_two_who_change_the_same_version(self):
        row = SchemaFactory()
        wishes = [added(row, replace(NEW, name=name)) for name in ("one", "two")]
        ended = at_once(*(lambda w=w: changes.change(row, w, revision=1, user=None) for w in wishes))
        assert sorted(str(type(each).__name__) for each in ended) == ["ChangedMeanwhile", "bool"]
        row.refresh_from_db()
        assert (row.revision, row.metrics.count()) == (2, 5)

    def test_two_who_cut_the_same_version(self):
        kind = SchemaFactory().device_type
        cut = lambda: changes.cut(kind, Vocabulary((NEW,)), version=2, user=None)  # noqa: E731
        ended = at_once(cut, cut, cut)
        assert sorted(str(type(each).__name__) for each in ended) == ["ChangedMeanwhile", "ChangedMeanwhile", "Schema"]
        assert kind.schemas.count() == 2

    def test_devices_are_stored_while_somebody_changes_their_version_and_by_the_new_one_afterwards(self, ca, days):
        device = DeviceFactory()
        row = SchemaFactory(device_type=device.device_type)
        told = message(device, envelope(values={"temperature_c": 4.5, "rssi": -70}))
        assert [each.reason for each in store_batch([told]).refused] == ["schema"]
        with transaction.atomic():
            changes.change(row, added(row, NEW), revision=1, user=None)
            (stored,) = at_once(lambda: store_batch([message(device, envelope())]))
            assert stored.stored == 1  # waits for no lock of ours
        assert store_batch([told]).stored == 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT metrics FROM telemetry_reading ORDER BY cardinality(metrics)")
            assert cursor.fetchall() == [([4.5, None, None],), ([4.5, None, None, -70.0],)]
