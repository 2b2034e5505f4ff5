"""Slots under real advisory locks: each worker here is a thread with its own database connection."""

import pytest
from django.db import Error, connection
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from fleetportal import slots
from fleetportal.slots import CONTROL, Slots
from tests.devices import peers
from tests.fleetportal.workers import workers

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def two():
    """Two workers with their slots; four ingest slots to share."""
    with override_settings(MQTT_SLOTS=4), workers(2) as pair:
        yield [(worker, worker(Slots)) for worker in pair]


def balance(*holders):
    """What the pump does every second, until nothing moves."""
    for _ in range(3):
        for worker, mine in holders:
            worker(mine.refresh)
            for slot in worker(mine.over):
                worker(mine.release, slot)
    return [set(mine.held) for _, mine in holders]


def test_one_worker_serves_every_slot(two):
    (held,) = balance(two[0])
    assert held == {CONTROL, 1, 2, 3, 4}


def test_two_workers_share_fairly_and_hold_no_slot_twice(two):
    balance(two[0])
    first, second = balance(*two)
    assert first | second == {CONTROL, 1, 2, 3, 4}
    assert first & second == set()
    assert (len(first - {CONTROL}), len(second - {CONTROL})) == (2, 2)


def test_there_is_one_control_session_whoever_comes_first(two):
    balance(*two)
    assert [CONTROL in mine.held for _, mine in two].count(True) == 1


def test_a_worker_leaves_a_free_slot_to_others_when_it_has_its_share(two, monkeypatch):
    monkeypatch.setattr(slots, "_GRACE_SECONDS", 0)
    balance(*two)
    (worker, mine), (other, theirs) = two
    given_up = max(theirs.held)
    other(theirs.release, given_up)
    assert given_up not in worker(mine.refresh)
    assert given_up in other(theirs.refresh)


def test_slots_of_a_killed_worker_are_adopted(two):
    (dead, _), (alive, mine) = two
    balance(*two)
    dead.kill()
    peers.eventually(lambda: alive(mine.refresh) == {CONTROL, 1, 2, 3, 4}, what="adopted")


def test_slots_of_a_worker_that_leaves_are_adopted(two):
    (leaver, theirs), (alive, mine) = two
    balance(*two)
    leaver(theirs.leave)
    assert theirs.held == set()
    peers.eventually(lambda: alive(mine.refresh) == {CONTROL, 1, 2, 3, 4}, what="adopted")


def test_a_worker_whose_connection_was_lost_knows_that_it_holds_nothing_it_could_not_take_back(two):
    (cut, theirs), (alive, mine) = two
    balance(*two)
    before = set(theirs.held)
    cut.kill()
    alive(mine.refresh)
    assert cut(theirs.refresh) & set(mine.held) == set()
    assert balance(*two)[0] | balance(*two)[1] == {CONTROL, 1, 2, 3, 4}
    assert before


def test_a_worker_takes_back_its_own_slots_first_after_the_database_was_away(two):
    """Both lost their connection; whoever comes back first must not grab everything."""
    (one, ours), (another, theirs) = two
    balance(*two)
    before = [set(ours.held), set(theirs.held)]
    one.kill()
    another.kill()
    assert [one(ours.refresh), another(theirs.refresh)] == before


def test_nothing_is_held_while_the_database_is_away(two):
    (worker, mine) = two[0]
    balance(two[0])

    def refresh_on_a_dead_server():
        healthy = connection.settings_dict["PORT"]
        connection.close()
        connection.settings_dict["PORT"] = "1"
        try:
            with pytest.raises(Error):
                mine.refresh()
            return set(mine.held)
        finally:
            connection.settings_dict["PORT"] = healthy

    assert worker(refresh_on_a_dead_server) == set()
    assert worker(mine.refresh) == {CONTROL, 1, 2, 3, 4}


def test_a_third_worker_finds_nothing_where_there_are_fewer_slots_than_workers():
    with override_settings(MQTT_SLOTS=1), workers(3) as team:
        holders = [(worker, worker(Slots)) for worker in team]
        held = balance(*holders)
        assert sorted(slot for each in held for slot in each) == [CONTROL, 1]


def test_client_ids_are_fixed_so_that_a_session_outlives_its_holder():
    assert [slots.client_id(slot) for slot in range(3)] == ["portal-control", "portal-ingest-0", "portal-ingest-1"]


@given(count=st.integers(1, 50), members=st.integers(1, 60))
def test_shares_cover_all_slots_and_differ_as_little_as_they_can(count, members):
    share = slots.fair_share(count, members)
    assert share * members >= count
    assert (share - 1) * members < count


@given(held=st.sets(st.integers(0, 20)), share=st.integers(0, 20))
def test_surplus_gives_up_the_highest_and_never_the_control_slot(held, share):
    given_up = slots.surplus(held, share)
    kept = held - set(given_up) - {CONTROL}
    assert CONTROL not in given_up
    assert len(kept) == min(share, len(held - {CONTROL}))
    assert all(high > low for high in given_up for low in kept)
