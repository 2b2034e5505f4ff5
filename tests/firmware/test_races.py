"""Two workers at once, and workers that die at any line: the same end as without."""

import subprocess
import sys

import pytest
from django.db import connection, transaction

from firmware import advancing, campaigns
from firmware.errors import FirmwareError
from firmware.models import Campaign, Release, Stage, Stop, Update, Verdict
from tests.devices.https_door import ROOT, environment
from tests.devices.peers import eventually
from tests.factories import StaffFactory
from tests.firmware import fleet, simulated
from tests.firmware.fleet import HOUR, MINUTE, NOW
from tests.fleetportal.workers import workers

_DIES = """
import sys, time, datetime, django
django.setup()
from django.db import connection
from firmware import advancing

left = int(sys.argv[3])

def die(execute, sql, params, many, context):
    global left
    left -= 1
    if not left:
        print("in the middle", flush=True)
        time.sleep(60)
    return execute(sql, params, many, context)

with connection.execute_wrapper(die):
    advancing.advance(int(sys.argv[1]), datetime.datetime.fromisoformat(sys.argv[2]))
print("done", flush=True)
"""


class DiedError(Exception):
    """As if the process had ended here."""


def dying(number):
    """Ends the work at its n-th statement."""
    left = iter(range(number - 1, -1, -1))

    def wrapper(execute, sql, params, many, context):
        if next(left, 0) == 0:
            raise DiedError
        return execute(sql, params, many, context)

    return connection.execute_wrapper(wrapper)


def rows():
    """Everything a step may change, but for what is different each time: keys of rows and moments of the clock."""
    updates = Update.objects.order_by("place").values_list(
        "device__hardware_id", "state", "attempt", "stage", "waiting"
    )
    verdicts = Verdict.objects.order_by("pk").values_list("action", "gate", "text", "stage")
    return (
        list(updates),
        list(Stage.objects.order_by("campaign", "number").values_list("number", "state", "size")),
        list(verdicts),
        list(Campaign.objects.order_by("pk").values_list("state", "pause_reason", "figures")),
    )


def scheduled(release, percents=(20, 100), **fields):
    row = fleet.campaign(release, percents, state="draft", **fields)
    campaigns.submit(row, row.author, NOW)
    campaigns.approve(row, StaffFactory(), NOW)
    return row


def steps(release, behave):
    """Moments before a step, each with its campaign: before the first, in flight, and on its way to an end."""
    campaign = scheduled(release)
    campaigns.start(campaign, campaign.author, NOW)
    devices = simulated.fleet_of(list(fleet.Device.objects.all()))
    yield campaign, NOW
    advancing.advance(campaign.pk, NOW)
    for each in devices:
        each.behave = {"*": behave}
    simulated.live(devices, NOW + MINUTE)
    yield campaign, NOW + HOUR
    for turn in (1, 2, 3):
        advancing.advance(campaign.pk, NOW + turn * HOUR)
        simulated.live(devices, NOW + turn * HOUR)
        yield campaign, NOW + (turn + 1) * HOUR


# --- a crash at any line --------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("behave", [simulated.GOOD, simulated.FAILS])
def test_a_crash_at_any_statement_leaves_nothing_half_done(behave):
    release = fleet.release("2.0.0")
    fleet.devices(5, release)
    died = 0
    for campaign, now in steps(release, behave):
        before = rows()
        with transaction.atomic():
            advancing.advance(campaign.pk, now)
            after = rows()
            transaction.set_rollback(True)
        for number in range(1, 200):
            try:
                with transaction.atomic(), dying(number):
                    advancing.advance(campaign.pk, now)
                    break
            except DiedError:
                died += 1
                assert rows() == before
        assert rows() == after
    assert died > 40


@pytest.mark.django_db
def test_a_start_that_dies_has_not_begun():
    release = fleet.release("2.0.0")
    fleet.devices(5, release)
    campaign = scheduled(release)
    for number in range(1, 200):
        try:
            with transaction.atomic(), dying(number):
                campaigns.start(campaign, campaign.author, NOW)
                break
        except DiedError:
            assert Campaign.objects.get().state == "scheduled" and not Update.objects.exists()
    assert number > 15 and Update.objects.count() == 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", [4, 12, 17], ids=["while-it-settles", "while-it-decides", "while-it-offers"])
def test_a_killed_worker_is_taken_over_from(statement):
    release = fleet.release("2.0.0")
    fleet.devices(10, release)
    campaign = scheduled(release)
    campaigns.start(campaign, campaign.author, NOW)
    command = [sys.executable, "-c", _DIES, str(campaign.pk), NOW.isoformat(), str(statement)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "in the middle\n"
            assert advancing.advance(campaign.pk, NOW) is None  # it has the row
        finally:
            process.kill()
            process.wait(20)
    eventually(lambda: advancing.advance(campaign.pk, NOW) is not None, 20, what="its lock is gone")
    assert Update.objects.active().count() == 2
    assert list(Stage.objects.values_list("state", flat=True)) == ["rolling", "pending"]
    assert Verdict.objects.filter(action="open").count() == 1


# --- two at once ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_one_advances():
    release = fleet.release("2.0.0")
    fleet.devices(10, release)
    campaign = scheduled(release)
    campaigns.start(campaign, campaign.author, NOW)
    with workers(2) as (first, second):
        with transaction.atomic():
            Campaign.objects.select_for_update().get(pk=campaign.pk)
            assert first(advancing.advance, campaign.pk, NOW) is None
        begun = [worker.begin(advancing.advance, campaign.pk, NOW) for worker in (first, second) for _ in range(5)]
        decided = [each.result(timeout=60) for each in begun]
    assert any(decided)
    assert Update.objects.active().count() == 2
    assert Verdict.objects.filter(action="open").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_campaigns_one_gets_a_device():
    release = fleet.release("2.0.0")
    fleet.devices(10, release)
    pair = [scheduled(release, (100,)), scheduled(release, (100,))]
    for each in pair:
        campaigns.start(each, each.author, NOW)
    with workers(2) as both:
        for turn in range(3):
            now = NOW + turn * MINUTE
            begun = [worker.begin(advancing.advance, each.pk, now) for worker, each in zip(both, pair, strict=True)]
            assert all(each.result(timeout=60) for each in begun)
    active = list(Update.objects.active().values_list("device", flat=True))
    assert len(active) == len(set(active)) == 10
    assert Update.objects.planned().filter(waiting="busy").count() == 10


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["start", "pause", "roll_back", "stop_all"])
def test_of_two_people_one_acts(act):
    release = fleet.release("2.0.0")
    fleet.devices(3, release)
    user = StaffFactory()
    campaign = scheduled(release)
    if act != "start":
        campaigns.start(campaign, user, NOW)

    def do():
        mine = Campaign.objects.get(pk=campaign.pk)
        try:
            if act == "start":
                campaigns.start(mine, user, NOW)
            elif act == "stop_all":
                return campaigns.stop_all(user, "Stop.", NOW).pk
            else:
                getattr(campaigns, act)(mine, user, "Because.", NOW)
        except FirmwareError as error:
            return error.code
        return "done"

    with workers(2) as both:
        said = sorted(str(each.result(timeout=60)) for each in [worker.begin(do) for worker in both])
    if act == "stop_all":
        assert said[0] == said[1] and Stop.objects.count() == 1
    else:
        assert said == ["done", "wrong_state"]
    assert Update.objects.count() == 3 and Release.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_pause_during_a_step_holds_from_the_next_offer_on():
    release = fleet.release("2.0.0")
    fleet.devices(10, release)
    campaign = scheduled(release, (100,), offers_per_minute=3)
    campaigns.start(campaign, campaign.author, NOW)
    with workers(2) as (first, second):
        pausing = second.begin(campaigns.pause, Campaign.objects.get(pk=campaign.pk), campaign.author, "Wait.", NOW)
        advancing_ = first.begin(advancing.advance, campaign.pk, NOW)
        pausing.result(timeout=60)
        advancing_.result(timeout=60)
    offered = Update.objects.active().count()
    assert offered in (0, 3)
    advancing.advance(campaign.pk, NOW + 5 * MINUTE)
    assert Update.objects.active().count() == offered
