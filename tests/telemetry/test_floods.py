"""Who is over a budget is not taken, and costs nobody else anything."""

import threading
from collections import Counter

import pytest

from devices.auditing import Found
from devices.registry import Known
from telemetry.buckets import BURST_MINUTES, LARGEST
from telemetry.floods import FLOOD, FLOOD_TENANT, SAMPLES, TELL_SECONDS, Floods, Tab

PLENTY = 10**9


def known(pk: int = 1, budget: int = 60, tenant: int = 1, together: int = PLENTY) -> Known:
    return Known(
        pk=pk, device_id=f"d-{pk}", tenant=f"tenant-{tenant}", device_type="y", device_type_pk=1, state="active",
        tenant_pk=tenant, telemetry_per_minute=budget, tenant_telemetry_per_minute=together, clock=None,
    )  # fmt: skip


def taken(floods: Floods, device: Known, count: int, now: float, readings: int = 1, tab: Tab | None = None) -> int:
    """Of so many messages at once, how many are let in."""
    done, tab = 0, tab or Tab(now)
    for _ in range(count):
        if floods.admit(device, tab):
            done += 1
            floods.charge(device, readings - 1, tab)
    return done


def told(floods: Floods, now: float) -> list[Found]:
    """What a batch that is stored tells of."""
    tab = Tab(now)
    found = floods.report(tab)
    floods.settle(tab)
    return found


def test_a_device_gets_a_burst_and_then_its_budget():
    floods, device = Floods(), known()
    assert taken(floods, device, 1000, 0) == 60 * BURST_MINUTES
    assert [taken(floods, device, 1000, now) for now in (1, 2, 32)] == [1, 1, 30]


def test_an_array_is_taken_whole_and_paid_for_afterwards():
    floods, device = Floods(), known(budget=1)
    assert taken(floods, device, 3, 0, LARGEST) == 1
    assert floods.wait(device.pk, device.tenant_pk, 0) == (LARGEST - BURST_MINUTES + 1) * 60
    assert taken(floods, device, 1, (LARGEST - BURST_MINUTES) * 60 + 59) == 0
    assert taken(floods, device, 1, (LARGEST - BURST_MINUTES) * 60 + 60) == 1


def test_a_batch_that_failed_costs_nothing():
    """The database may be away for an hour, and the same batch be tried a hundred times."""
    floods, device = Floods(), known(together=400)
    for _ in range(100):
        tab = Tab(0)
        assert taken(floods, device, 10, 0, 10, tab) == 10
        floods.undo(tab)
    assert taken(floods, device, 1000, 0) == 60 * BURST_MINUTES


def test_a_batch_that_failed_does_not_fill_the_bucket_of_a_tenant_in_debt():
    """A debt has an end: what was taken beyond it has cost nothing, and is not given back."""
    floods, fleet = Floods(), [known(pk, budget=600, together=1000) for pk in range(100)]
    for device in fleet:
        taken(floods, device, 60, 0)
    bucket, tab = floods._tenants[1].bucket, Tab(TELL_SECONDS + 1)
    bucket.fill(1000, tab.now)
    before = bucket.level
    quiet = [known(pk, budget=600, together=1000) for pk in range(100, 110)]
    assert sum(taken(floods, device, 1, tab.now, LARGEST, tab) for device in quiet) == 10
    assert bucket.level == 1 - LARGEST
    floods.undo(tab)
    assert bucket.level == before


def test_a_batch_that_failed_adds_nothing_to_a_flood_and_has_told_of_none():
    floods, device = Floods(), known()
    taken(floods, device, 300, 0)
    for _ in range(10):
        tab = Tab(0)
        assert taken(floods, device, 7, 0, tab=tab) == 0
        assert [floods.is_sample(device, tab) for _ in range(SAMPLES + 1)] == [True] * SAMPLES + [False]
        assert [each.detail[:2] for each in floods.report(tab)] == ["7 "]
        floods.undo(tab)
    assert told(floods, 0) == []
    taken(floods, device, 1, 0)
    assert [each.detail[:2] for each in told(floods, 0)] == ["1 "]


def test_what_another_batch_told_meanwhile_is_not_undone():
    floods, device, failing = Floods(), known(), Tab(0)
    taken(floods, device, 303, 0, tab=failing)
    assert len(told(floods, 0)) == 1
    floods.undo(failing)
    assert told(floods, TELL_SECONDS) == []


def test_one_devices_flood_costs_its_siblings_and_its_tenant_nothing():
    floods, loud, quiet = Floods(), known(1, together=1000), known(2, together=1000)
    taken(floods, loud, 100_000, 0)
    assert taken(floods, quiet, 1000, 0) == 60 * BURST_MINUTES
    assert [(each.kind, each.device_pk) for each in told(floods, 0)] == [(FLOOD, loud.pk), (FLOOD, quiet.pk)]


def test_a_tenant_gets_its_burst_and_then_its_budget_whatever_its_devices_may():
    floods = Floods()
    fleet = [known(pk, budget=PLENTY // 10, together=600) for pk in range(10)]
    total = sum(taken(floods, device, 600, 0) for device in fleet)
    assert 600 * BURST_MINUTES <= total <= 600 * BURST_MINUTES + 600
    steps = [float(second) for second in range(5, 20 * 60, 5)]
    later = sum(taken(floods, device, 20, second) for second in steps for device in fleet)
    assert 600 * 19 <= later <= 600 * 21
    assert {each.kind for each in told(floods, 0)} == {FLOOD_TENANT}


def test_a_device_that_sends_most_of_its_tenants_budget_does_not_silence_its_siblings():
    """It is within its own budget, so only the tenant's can hold it back."""
    floods = Floods()
    loud = known(0, budget=PLENTY // 10, together=600)
    quiet = [known(pk, budget=600, together=600) for pk in range(1, 10)]
    got: Counter[int] = Counter()
    for second in range(1200):
        got[0] += taken(floods, loud, 100, second)
        if second % 2 == 0:  # 30 a minute, where 60 are everybody's fair share
            for device in quiet:
                got[device.pk] += taken(floods, device, 1, second)
    assert {got[device.pk] for device in quiet} == {600}
    assert got[0] <= 600 * (BURST_MINUTES + 20) - 9 * 600 + 700, "what is left over is the loud one's"
    (found,) = told(floods, 1200)
    assert (found.kind, found.device_pk, found.subject) == (FLOOD_TENANT, None, "tenant-1")


def test_tenants_do_not_share():
    floods = Floods()
    taken(floods, known(1, budget=600, tenant=1, together=10), 1000, 0)
    assert taken(floods, known(2, tenant=2, together=10), 30, 0) == 30


def test_a_change_of_budget_acts_at_once():
    floods = Floods()
    taken(floods, known(budget=1), 10, 0)
    assert taken(floods, known(budget=1), 10, 1) == 0
    assert taken(floods, known(budget=60), 10, 2) == 10
    assert taken(floods, known(budget=60, together=1), 10, 3) == BURST_MINUTES


def test_a_flood_is_told_at_once_and_then_once_a_minute_with_what_came():
    floods, device = Floods(), known()
    assert told(floods, 0) == []
    taken(floods, device, 301, 0)
    (first,) = told(floods, 0)
    assert (first.kind, first.device_pk, first.severity, first.subject) == (FLOOD, device.pk, "warning", "")
    assert first.detail == "1 messages, each of one reading or more, were not taken: its budget is 60 a minute."
    for second in range(1, 60):
        taken(floods, device, 10, second)
        assert told(floods, second) == []
    taken(floods, device, 10, 60)
    (again,) = told(floods, 60)
    assert again.detail == (
        "540 messages, each of one reading or more, were not taken:"
        " its budget is 60 a minute, and at least 600 readings came."
    )
    assert told(floods, 60 + TELL_SECONDS) == [], "nothing was refused since"


def test_samples_are_few_and_none_of_what_was_taken():
    floods, device = Floods(), known()
    assert not floods.is_sample(device, Tab(0))
    taken(floods, device, 300, 0)
    assert not floods.is_sample(device, Tab(0))
    refused = 0
    for _ in range(100):
        assert not floods.admit(device, Tab(0))
        refused += floods.is_sample(device, Tab(0))
    assert refused == SAMPLES
    told(floods, 0)
    floods.admit(device, Tab(TELL_SECONDS))
    assert not floods.is_sample(device, Tab(0)), "that one was taken"
    taken(floods, device, 100, TELL_SECONDS)
    assert floods.is_sample(device, Tab(0))


def test_a_tenants_flood_has_as_few_samples_as_a_devices():
    floods = Floods()
    fleet = [known(pk, together=1) for pk in range(100)]
    for device in fleet:
        taken(floods, device, BURST_MINUTES, 0)
    told(floods, 0)
    assert sum(not floods.admit(device, Tab(0)) and floods.is_sample(device, Tab(0)) for device in fleet) == SAMPLES


def test_full_buckets_and_ended_floods_are_forgotten():
    floods = Floods()
    for pk in range(1000):
        taken(floods, known(pk), 1, 0)
    taken(floods, known(1), 1000, 0)
    told(floods, 0)
    told(floods, TELL_SECONDS + 1)
    assert set(floods._devices) == {1}
    told(floods, 10 * TELL_SECONDS)
    assert (floods._devices, floods._tenants, floods._excess) == ({}, {}, {})


def test_many_threads_let_in_no_more_than_one():
    floods, device, count = Floods(), known(budget=1000), []
    together = threading.Barrier(4)

    def send():
        together.wait(10)
        count.append(taken(floods, device, 5000, 0))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(count) == 1000 * BURST_MINUTES


@pytest.mark.parametrize("pk", [1, 2])
def test_who_never_came_need_not_wait(pk):
    floods = Floods()
    taken(floods, known(1), 1, 0)
    assert floods.wait(pk, 5, 0) == 1


def test_where_a_tenants_budget_is_smaller_than_its_fleet_nobody_is_silenced_by_the_fastest():
    floods = Floods()
    loud, quiet = known(0, budget=600, together=100), [known(pk, budget=600, together=100) for pk in range(1, 150)]
    got: Counter[int] = Counter()
    for second in range(600):
        got[0] += taken(floods, loud, 10, second)
        for device in quiet[second % 60 :: 60]:
            got[device.pk] += taken(floods, device, 1, second)
    assert {got[device.pk] for device in quiet} == {10}, "one a minute"
