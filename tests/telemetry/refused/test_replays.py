"""Dead letters taken in again: twice is once, two at once are one, and a crash loses nothing."""

import json
import threading
from datetime import timedelta

import cbor2
import pytest
from django.db import DataError, connection
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from devices import registry
from devices.models import Device, Event
from devices.registry import Incoming, Refused
from telemetry import ingest, jobs
from telemetry.models import DeadLetter, Metric, Reading, Replay, Touched
from telemetry.refused import deadletters, replays
from telemetry.refused.selections import Selection
from telemetry.tables import partitions
from tests.factories import DeviceFactory, SchemaFactory, StaffFactory
from tests.telemetry.messages import envelope, message, topic

DAY = timedelta(days=1)


def refused(device, *envelopes, reason="schema", at=None, **changes):
    """What a device said and somebody refused, once."""
    told = message(device, *envelopes)
    deadletters.keep([Refused(told, reason, "d", "$", device.pk)], at or timezone.now() - timedelta(hours=1))


def replay(selection=None, user=None):
    made = replays.request(selection or Selection(), user, "mended", timezone.now())
    replays.run(made.pk)
    made.refresh_from_db()
    return made


def figures(made):
    return (made.state, made.done, made.total, made.stored, made.duplicates, made.refused, made.skipped)


def letters():
    return sorted(DeadLetter.objects.values_list("digest", "reason", "detail", "path", "count", "first_received_at"))


def readings():
    return sorted(Reading.objects.values_list("device_id", "ts", "msg_id", "metrics", "received_at"))


@pytest.fixture
def device(days):
    return DeviceFactory(device_type=SchemaFactory().device_type)


@pytest.mark.django_db
class TestAReplay:
    def test_stores_what_is_right_now_with_the_time_it_first_came(self, device):
        first = timezone.now() - timedelta(hours=5)
        refused(device, envelope(), at=first)
        refused(device, envelope(), at=first)
        made = replay(Selection(reason="schema"))
        assert figures(made) == ("done", 2, 2, 2, 0, 0, 0)
        assert not DeadLetter.objects.exists()
        assert set(Reading.objects.values_list("device_id", "received_at")) == {(device.pk, first)}
        assert Touched.objects.exists()  # figures of minutes are computed anew

    def test_takes_what_a_mended_schema_allows(self, device):
        told = envelope(values={"temperature_c": 95})
        outcome = ingest.store_batch([message(device, told)])
        assert [each.reason for each in outcome.refused] == ["schema"]
        assert figures(replay())[1:6] == (1, 1, 0, 0, 1)
        Metric.objects.filter(name="temperature_c").update(maximum=120)
        schema = Metric.objects.get(name="temperature_c").schema
        schema.revision += 1
        schema.save()
        assert figures(replay())[1:6] == (1, 1, 1, 0, 0)
        assert Reading.objects.get().metrics[0] == 95

    def test_counts_what_was_stored_already(self, device):
        told = envelope()
        ingest.store_batch([message(device, told)])
        refused(device, told)
        assert figures(replay())[1:6] == (1, 1, 0, 1, 0)
        assert Reading.objects.count() == 1

    def test_a_letter_that_is_refused_again_keeps_its_count_and_says_why(self, device):
        refused(device, envelope(values={"temperature_c": "hot"}), reason="old_reason")
        DeadLetter.objects.update(count=7)
        before = DeadLetter.objects.get()
        assert figures(replay())[3:] == (0, 0, 1, 0)
        letter = DeadLetter.objects.get()
        assert (letter.reason, letter.count, letter.device) == ("schema", 7, device)
        assert letter.path == "$.values.temperature_c"
        assert letter.replayed_at is not None
        assert letter.first_received_at == before.first_received_at

    def test_two_letters_that_become_the_same_become_one(self, device):
        told = envelope(values={"temperature_c": "hot"})
        ingest.store_batch([message(device, told)] * 2)
        kept = DeadLetter.objects.get()
        again = Incoming(kept.topic, bytes(kept.payload), 1)
        deadletters.keep([Refused(again, "old_reason", "d", "$", device.pk)] * 3, timezone.now() - DAY)
        assert DeadLetter.objects.count() == 2
        replay()
        letter = DeadLetter.objects.get()
        assert (letter.reason, letter.count) == ("schema", 5)
        assert timezone.now() - letter.first_received_at > timedelta(hours=23)
        before = letters()
        replay()
        assert letters() == before

    def test_of_an_array_only_what_is_wrong_stays(self, device):
        good, bad = envelope(), envelope(values={"temperature_c": "hot"})
        refused(device, good, bad, good, reason="unknown_device")
        made = replay()
        assert figures(made)[3:6] == (1, 1, 1)  # the good one came twice
        letter = DeadLetter.objects.get()
        assert json.loads(bytes(letter.payload))["msg_id"] == bad["msg_id"]
        assert letter.reason == "schema"
        before = letters(), readings()
        replay()
        assert (letters(), readings()) == before

    def test_a_time_ahead_is_judged_by_when_it_came(self, device):
        """Two days ahead of its arrival stays refused, though it lies in the past by now."""
        came = timezone.now() - 3 * DAY
        ahead = envelope(ts=(came + 2 * DAY).isoformat())
        refused(device, ahead, reason="ts_ahead", at=came)
        made = replay()
        assert figures(made)[3:6] == (0, 0, 1)
        assert DeadLetter.objects.get().reason == "ts_ahead"

    def test_floods_do_not_count_against_anybody(self, device, settings):
        settings.TELEMETRY_PER_MINUTE = 1
        for _ in range(30):
            refused(device, envelope())
        assert replay().stored == 30

    def test_a_quarantined_device_is_refused_again(self, device):
        refused(device, envelope())
        Device.objects.filter(pk=device.pk).update(state="quarantined")
        registry.forget_all()
        replay()
        assert DeadLetter.objects.get().reason == "quarantined"
        assert not Reading.objects.exists()

    def test_other_channels_and_cut_payloads_are_left_as_they_are(self, device):
        status = Incoming(topic(device, "status"), b"{}", 1)
        large = Incoming(topic(device), b"x" * 300_000, 1)
        deadletters.keep(
            [Refused(each, "field", "d", "$", device.pk) for each in (status, large)], timezone.now() - DAY
        )
        refused(device, envelope())
        before = letters()
        made = replay()
        assert figures(made) == ("done", 3, 3, 1, 0, 0, 2)
        assert len(letters()) == 2
        assert set(letters()) < set(before)
        assert not DeadLetter.objects.filter(replayed_at__isnull=False).exists()

    def test_only_what_was_selected(self, device):
        other = DeviceFactory(tenant=device.tenant, device_type=device.device_type)
        refused(device, envelope(), reason="nul")
        refused(device, envelope())
        refused(other, envelope())
        assert replay(Selection(reason="schema", device=device)).stored == 1
        assert sorted(DeadLetter.objects.values_list("reason", "device")) == [
            ("nul", device.pk),
            ("schema", other.pk),
        ]

    def test_letters_that_come_later_are_not_its_business(self, device):
        refused(device, envelope())
        made = replays.request(Selection(), None, "mended", timezone.now())
        refused(device, envelope(), at=timezone.now() + timedelta(seconds=5))
        replays.run(made.pk)
        assert DeadLetter.objects.count() == 1

    def test_is_evidence_with_its_reason(self, device):
        staff = StaffFactory()
        refused(device, envelope())
        made = replay(Selection(reason="schema", device=device), staff)
        event = Event.objects.get(kind="deadletters.replay_requested")
        assert (event.user, event.reason, event.device) == (staff, "mended", device)
        assert event.detail["replay"] == made.pk
        assert (made.why, made.requested_by) == ("mended", staff)

    def test_a_letter_that_breaks_the_database_is_refused_alone(self, device, monkeypatch):
        """What our checks let through and PostgreSQL does not; its neighbours are stored."""
        poison = envelope()
        for number in range(9):
            refused(device, poison if number == 4 else envelope())
        real = ingest.store_again

        def breaking(messages, received):
            if any(poison["msg_id"].encode() in each.payload for each in messages):
                raise DataError("no such number")
            return real(messages, received)

        monkeypatch.setattr(ingest, "store_again", breaking)
        assert figures(replay()) == ("done", 9, 9, 8, 0, 1, 0)
        letter = DeadLetter.objects.get()
        assert (letter.reason, poison["msg_id"] in bytes(letter.payload).decode()) == ("unstorable", True)
        assert "no such number" in letter.detail

    def test_goes_on_where_a_crash_left_it(self, device, monkeypatch):
        """At any batch: what was committed is counted once, and what was not is done by the next worker."""
        monkeypatch.setattr(replays, "BATCH", 3)
        for _ in range(10):
            refused(device, envelope())
        made = replays.request(Selection(), None, "mended", timezone.now())
        real, calls = deadletters.settle, []

        def crashing(tried, now):
            calls.append(len(tried))
            real(tried, now)
            if len(calls) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(deadletters, "settle", crashing)
        with pytest.raises(KeyboardInterrupt):
            replays.run(made.pk)
        made.refresh_from_db()
        assert figures(made) == ("running", 6, 10, 6, 0, 0, 0)
        assert (Reading.objects.count(), DeadLetter.objects.count()) == (6, 4)
        assert jobs.resume(timezone.now() + jobs.STALE + timedelta(seconds=1)) == 1
        replays.run(made.pk)
        made.refresh_from_db()
        assert figures(made) == ("done", 10, 10, 10, 0, 0, 0)
        assert (Reading.objects.count(), DeadLetter.objects.count()) == (10, 0)

    def test_stops_where_it_is_cancelled(self, device, monkeypatch):
        monkeypatch.setattr(replays, "BATCH", 3)
        for _ in range(7):
            refused(device, envelope())
        made = replays.request(Selection(), None, "mended", timezone.now())
        real = replays._batch

        def canceling(*told, **named):
            last = real(*told, **named)
            jobs.cancel(made, timezone.now())
            return last

        monkeypatch.setattr(replays, "_batch", canceling)
        replays.run(made.pk)
        made.refresh_from_db()
        assert (made.state, made.stored) == ("canceled", 3)
        assert (Reading.objects.count(), DeadLetter.objects.count()) == (3, 4)  # the batch after it never was


@pytest.mark.django_db
class TestTryingAgain:
    def test_says_what_would_be_and_stores_nothing(self, device):
        refused(device, envelope(), envelope(values={"temperature_c": "hot"}))
        before = letters()
        taken = replays.try_again(DeadLetter.objects.get())
        assert taken.stored == 1
        assert [each.path for each in next(iter(taken.refused.values()))] != []
        assert not Reading.objects.exists()
        assert not Touched.objects.exists()
        assert letters() == before
        assert not DeadLetter.objects.filter(replayed_at__isnull=False).exists()


ENVELOPES = st.sampled_from(["good", "again", "bad", "old_version", "cbor", "array", "garbage"])


class TwiceIsOnce(TestCase):
    """Property: whatever the letters, a second replay changes neither readings nor letters."""

    @settings(max_examples=12, deadline=None)
    @given(st.lists(st.tuples(ENVELOPES, st.integers(1, 3)), min_size=1, max_size=8))
    def test_replaying_twice_changes_nothing(self, kinds):
        partitions.make_ahead(timezone.now())
        device = DeviceFactory(device_type=SchemaFactory().device_type)
        same = envelope()
        for kind, count in kinds:
            bodies = {
                "good": json.dumps(envelope()).encode(),
                "again": json.dumps(same).encode(),
                "bad": json.dumps(envelope(values={"temperature_c": "x"})).encode(),
                "old_version": json.dumps(envelope(schema_version=9)).encode(),
                "cbor": cbor2.dumps(envelope()),
                "array": json.dumps([same, envelope(), envelope(values={})]).encode(),
                "garbage": b"\xff{",
            }
            item = Refused(Incoming(topic(device), bodies[kind], 1), f"r{count}", "d", "$", device.pk)
            deadletters.keep([item] * count, timezone.now() - DAY)
        replay()
        before = letters(), readings()
        second = replay()
        assert (letters(), readings()) == before
        assert second.stored == 0
        registry.forget_all()


@pytest.mark.django_db(transaction=True)
def test_two_replays_at_once_store_each_letter_once():
    partitions.make_ahead(timezone.now())
    device = DeviceFactory(device_type=SchemaFactory().device_type)
    for number in range(60):
        refused(device, envelope(values={"temperature_c": "hot" if number % 6 == 0 else 1}))
    made = [replays.request(Selection(), None, "mended", timezone.now()) for _ in range(2)]
    before, replays.BATCH = replays.BATCH, 4
    begin = threading.Barrier(2)

    def run(pk):
        begin.wait()
        try:
            replays.run(pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[each.pk]) for each in made]
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
    finally:
        replays.BATCH = before
    for each in made:
        each.refresh_from_db()
    assert [each.state for each in made] == ["done", "done"], [each.error for each in made]
    assert sum(each.stored for each in made) == Reading.objects.count() == 50
    assert sum(each.duplicates for each in made) == 0
    assert DeadLetter.objects.count() == 10
    assert Replay.objects.count() == 2
