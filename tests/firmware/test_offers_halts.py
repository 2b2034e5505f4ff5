"""A pause and the global stop: from then on no offer is said to anybody, whatever is under way at that moment."""

import threading

import pytest
from django.db import connection, connections, transaction

from firmware import advancing, campaigns, nudges, offers
from firmware.models import Campaign, Stop, Update
from tests.factories import StaffFactory
from tests.firmware import fleet
from tests.firmware.fleet import NOW


@pytest.fixture
def said(monkeypatch):
    """What is said to devices, and whether the stop was on by then."""
    said = []

    def note(_topic, payload, **_):
        said.append((payload.state.value, Stop.objects.filter(open=True).exists()))

    monkeypatch.setattr(nudges.publisher, "publish", note)
    return said


class Elsewhere(threading.Thread):
    """Work on a connection of its own."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self._work = work
        self.start()

    def run(self):
        try:
            self._work()
        finally:
            connections.close_all()


def waits_for_a_lock():
    """Does anybody?"""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return cursor.fetchone()[0] > 0


def until(condition):
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("not reached")


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["paused", "aborting", "rolling_back", "completed"])
def test_no_offer_is_said_while_its_campaign_does_not_run(said, state):
    (row,) = fleet.rollout(state="queued")
    Campaign.objects.update(state=state, paused_at=NOW)
    nudges.at_birth([row.device_id])
    nudges.tell([row])
    assert said == [] and Update.objects.get().state == "queued"
    Update.objects.update(state="canceled", ended_at=NOW)
    nudges.tell([row])
    assert said == [("withdrawn", False)], "what is over is said all the same"


@pytest.mark.django_db
def test_no_offer_is_said_during_the_stop(said):
    (row,) = fleet.rollout(state="queued")
    Stop.objects.create(started_by=StaffFactory(), reason="fire")
    nudges.tell([row])
    nudges.at_birth([row.device_id])
    assert said == [] and Update.objects.get().state == "queued"


@pytest.mark.django_db(transaction=True)
def test_a_stop_waits_for_offers_under_way_and_nothing_is_said_after_it(said, monkeypatch):
    release = fleet.release()
    campaign = fleet.campaign(release, [100])
    fleet.enlist(campaign, fleet.devices(2, release))
    who = StaffFactory()
    real, threads = offers._hand_out, []

    def between(*arguments):
        threads.append(Elsewhere(lambda: campaigns.stop_all(who, "fire", NOW)))
        until(waits_for_a_lock)
        return real(*arguments)

    monkeypatch.setattr(offers, "_hand_out", between)
    advancing.advance(campaign.pk, NOW)
    threads[0].join(10)
    assert Stop.objects.filter(open=True).exists()
    assert ("open", True) not in said
    assert offers.offer(Campaign.objects.get(), NOW) == []


@pytest.mark.django_db(transaction=True)
def test_a_stop_waits_for_what_is_being_said(monkeypatch):
    (row,) = fleet.rollout(state="queued")
    said, threads, who = [], [], StaffFactory()

    def publish(topic, payload, **_):
        threads.append(Elsewhere(lambda: campaigns.stop_all(who, "fire", NOW)))
        until(waits_for_a_lock)
        said.append(Stop.objects.filter(open=True).exists())

    monkeypatch.setattr(nudges.publisher, "publish", publish)
    nudges.tell([row])
    threads[0].join(10)
    assert said == [False] and Stop.objects.filter(open=True).exists()


@pytest.mark.django_db(transaction=True)
def test_saying_it_waits_for_no_report(said):
    (row,) = fleet.rollout(state="queued")
    with transaction.atomic():
        Update.objects.select_for_update().get(pk=row.pk)  # as who takes in a report of it
        telling = Elsewhere(lambda: nudges.tell([row]))
        telling.join(10)
        assert not telling.is_alive() and said == [("open", False)]
    assert Update.objects.get().state == "queued", "the report says what it is"


@pytest.mark.django_db
def test_what_releases_offer_is_read_once_for_all_devices(monkeypatch, django_assert_max_num_queries):
    said = []
    monkeypatch.setattr(nudges.publisher, "publish", lambda *told, **_: said.append(told))
    rows = fleet.rollout(50, state="queued")
    with django_assert_max_num_queries(11):
        nudges.tell(rows)
    assert len(said) == 50 and not Update.objects.filter(state="queued").exists()
