"""Anything in any order: people, devices, windows, clocks and a second release; and every campaign still ends.

`MACHINE_EXAMPLES=200 pytest -n 0` on this file looks longer, and at other runs than the usual ones.
"""

import os
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from devices.models import Group, MaintenanceWindow
from firmware import advancing, campaigns
from firmware.errors import FirmwareError
from firmware.models import Campaign, Stage, Stop, Update
from firmware.states import ACTIVE, RANK, UNDER_WAY, CampaignState, UpdateState
from tests.factories import StaffFactory
from tests.firmware import fleet, simulated

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "0"))
NOW = datetime(2027, 1, 4, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PLAN = {
    "verify_time": MINUTE, "offline_grace": 2 * MINUTE, "install_timeout": 10 * MINUTE, "stage_timeout": HOUR,
    "reboot_jitter": timedelta(0), "offers_per_minute": 2, "min_executed": 2, "error_rate": 3000, "offline_rate": 5000,
}  # fmt: skip
BEHAVIOURS = (simulated.GOOD, simulated.GOOD, simulated.FAILS, simulated.BOOT_LOOP, simulated.REFUSES)
BOUND = 150
ENDS = Counter()
"""How campaigns ended: what the machine never gets to, it does not test."""
one = st.integers(0, 7)
verb = st.sampled_from(["edited", "resume", "abort", "roll_back", "retry_failed"])


class Fleet(RuleBasedStateMachine):
    """A few devices, at most two campaigns, and everybody who can do something to them."""

    def __init__(self):
        super().__init__()
        self.open = transaction.atomic()
        self.open.__enter__()

    def teardown(self):
        try:
            if hasattr(self, "devices"):
                self.end()
        finally:
            transaction.set_rollback(True)
            self.open.__exit__(None, None, None)

    @initialize(count=st.integers(3, 8), bad=st.lists(st.sampled_from(BEHAVIOURS), min_size=8, max_size=8), freeze=one)
    def begin(self, count, bad, freeze):
        self.now = NOW
        self.user, self.other = StaffFactory(), StaffFactory()
        old = fleet.release("1.0.0")
        types = list(old.device_types.all())
        self.releases = [fleet.release("2.0.0", *types), fleet.release("3.0.0", *types)]
        rows = fleet.devices(count, old)
        self.devices = simulated.fleet_of(rows)
        for each, how in zip(self.devices, bad, strict=False):
            each.behave = {"2.0.0": how}
        group = Group.objects.create(tenant=rows[0].tenant, name="Quiet")
        group.devices.add(*rows[:freeze])
        self.quiet = {each.pk for each in rows[:freeze]}
        # From 13:00 to 15:00 nothing is offered to these.
        self.window = MaintenanceWindow.objects.create(
            group=group, kind="freeze", weekdays="1234567", starts=time(13), minutes=120
        )
        self.running, self.seen, self.offers, self.passed, self.proved = [], {}, set(), set(), set()
        self.start(0)

    def start(self, which):
        row = fleet.campaign(self.releases[which], (50, 100), state="draft", author=self.user, **PLAN)
        Stage.objects.filter(campaign=row).update(soak=5 * MINUTE)
        campaigns.submit(row, self.user, self.now)
        campaigns.approve(row, self.other, self.now)
        campaigns.start(row, self.user, self.now)
        self.running.append(row.pk)

    # --- people -----------------------------------------------------------------------------------------------------

    @rule(what=verb, which=st.integers(0, 1))
    def act(self, what, which):
        row = Campaign.objects.filter(pk=self.running[which % len(self.running)]).get()
        with suppress(FirmwareError):  # not every act is for every state
            told = (self.other, self.now) if what == "edited" else (self.other, "Because.", self.now)
            getattr(campaigns, what)(row, *told)
            assert what != "edited", "it has started"
        assert row.state == Campaign.objects.get(pk=row.pk).state

    @rule(which=st.integers(0, 1), minutes=st.sampled_from([1, 6, 90]))
    def pause_and_look(self, which, minutes):
        self.act("pause", which)
        self.time_passes(minutes)

    @precondition(lambda self: len(getattr(self, "running", ())) == 1)
    @rule()
    def release_the_next(self):
        self.start(1)

    @rule(what=st.sampled_from([campaigns.stop_all, campaigns.lift_stop]))
    def stop_or_lift(self, what):
        what(self.other, "Because.", self.now)

    # --- devices ----------------------------------------------------------------------------------------------------

    def device(self, number):
        return self.devices[number % len(self.devices)]

    @rule(steps=st.integers(1, 7))
    def devices_work(self, steps):
        simulated.live(self.devices, self.now, steps)

    @rule(number=one, steps=st.integers(1, 7))
    def a_device_works(self, number, steps):
        simulated.live([self.device(number)], self.now, steps)

    @rule(number=one)
    def goes_offline(self, number):
        self.device(number).go_offline(self.now)

    @rule(number=one)
    def comes_online(self, number):
        self.device(number).come_online(self.now)

    @rule(number=one)
    def loses_power(self, number):
        self.device(number).power_cut(self.now)

    @rule(number=one, which=st.integers(0, 1000))
    def an_old_report_comes_again(self, number, which):
        device = self.device(number)
        if device.sent:
            device.deliver([device.sent[which % len(device.sent)]], self.now)

    # --- time -------------------------------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([0, 1, 1, 6, 6, 6, 20, 90, 60 * 26]))
    def time_passes(self, minutes):
        self.now += minutes * MINUTE
        self.advance()

    @rule()
    def advance(self):
        for pk in Campaign.objects.under_way().order_by("pk").values_list("pk", flat=True):
            before = CampaignState(Campaign.objects.get(pk=pk).state)
            stopped = Stop.objects.filter(ended_at__isnull=True).exists()
            advancing.advance(pk, self.now)
            after = CampaignState(Campaign.objects.get(pk=pk).state)
            new = self.offered() - self.offers
            assert not new or (before == after == CampaignState.RUNNING and not stopped), (before, after, stopped)
            if self.window.is_open(self.now):
                assert not {device for _, _, device in new} & self.quiet
            self.offers |= new
            self.check_stages()

    # --- what always holds ------------------------------------------------------------------------------------------

    def offered(self):
        return set(Update.objects.filter(offered_at__isnull=False).values_list("pk", "attempt", "device"))

    def check_stages(self):
        """No stage passes without a device that proved the version."""
        for pk, number, campaign in Stage.objects.filter(state="passed").values_list("pk", "number", "campaign"):
            if pk not in self.passed:
                self.passed.add(pk)
                proved = Update.objects.filter(campaign=campaign, stage__lte=number, state=UpdateState.SUCCEEDED)
                assert proved.exists()

    @invariant()
    def nobody_has_two(self):
        active = Update.objects.active().values_list("device", flat=True)
        assert max(Counter(active).values(), default=0) <= 1

    @invariant()
    def nothing_is_offered_behind_our_back(self):
        if hasattr(self, "offers"):
            assert self.offered() <= self.offers

    @invariant()
    def nothing_goes_back(self):
        for row in Update.objects.all():
            now = (row.attempt, RANK[UpdateState(row.state)], row.seq)
            before = getattr(self, "seen", {}).get(row.pk, now)
            assert now[0] > before[0] or (now[0] == before[0] and now[1:] >= before[1:])
            if row.state == UpdateState.SUCCEEDED and (row.pk, row.attempt) not in self.proved:
                self.proved.add((row.pk, row.attempt))
                mine = next(each for each in self.devices if each.device.pk == row.device_id)
                assert mine.version == row.release.version
            if hasattr(self, "seen"):
                self.seen[row.pk] = now

    # --- and it always ends -----------------------------------------------------------------------------------------

    def end(self):
        """Devices are honest from now on, and somebody looks after what is paused: all of it ends."""
        campaigns.lift_stop(self.other, "All is well.", self.now)
        for each in self.devices:
            each.behave = {}
            each.come_online(self.now)
        for _ in range(BOUND):
            self.look_after()
            self.advance()
            self.nobody_has_two()
            self.nothing_goes_back()
            if not Campaign.objects.under_way().exists():
                break
            simulated.live(self.devices, self.now)
            self.now += 10 * MINUTE
        ENDS.update(Campaign.objects.values_list("state", flat=True))
        left = {row.name: (row.state, row.figures) for row in Campaign.objects.filter(state__in=UNDER_WAY)}
        assert not left, left
        assert not Update.objects.filter(state__in=ACTIVE).exists()
        verified = {"1.0.0", "2.0.0", "3.0.0"}
        assert {each.version for each in self.devices} <= verified

    def look_after(self):
        for row in Campaign.objects.filter(state=CampaignState.PAUSED):
            try:
                campaigns.resume(row, self.other, "Go on.", self.now)
            except FirmwareError:
                campaigns.roll_back(row, self.other, "It does not get better.", self.now)


@pytest.mark.django_db
def test_whatever_happens_every_campaign_ends_and_nothing_is_offered_that_must_not_be():
    connection.ensure_connection()
    run_state_machine_as_test(
        Fleet,
        settings=settings(
            max_examples=EXAMPLES or 12,
            stateful_step_count=30,
            derandomize=not EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],  # to shrink takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert {"completed", "aborted", "rolled_back"} <= ENDS.keys(), ENDS
