"""Workers are killed in mid-advance and in mid-offer, again and again: a campaign ends as it does without that."""

import random
import threading
import time
from contextlib import contextmanager, nullcontext

import pytest

from tests import campaigning
from tests.fleet import eventually, folder, running
from tests.reporters import FIRST_VERSION, Reporters

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]
DEVICES, PERCENTS = 300, [1, 5, 10, 25, 100]
PAUSE = 0.4
"""A device takes up to so long (s) for each step, so that the kills meet all of them."""
KILLS = 12
VICTIMS = ["rollout", "mqtt1", "rollout", "mqtt2"]
IDLE_TASK_SECONDS = 2.0
"""A task of the default queue never waits longer, whatever happens to the workers of the others."""


@pytest.fixture(scope="module")
def fleet():
    """One portal for all of them: each campaign has devices of its own."""
    with folder() as var, running(var, "--no-swarm", "--workers", "2", ROLLOUT_EVERY="1s") as fleet:
        yield fleet


@contextmanager
def killing(fleet):
    """One worker after the other dies while it is at work, and is restarted; who died."""
    ending, killed, chance = threading.Event(), [], random.Random(11)
    work = "SELECT count(offered_at), sum(seq), count(*) FILTER (WHERE ended_at IS NOT NULL) FROM firmware_update"

    def kill():
        done = fleet.sql(work)
        while not ending.wait(0.05) and len(killed) < KILLS:
            if fleet.sql(work) == done:
                continue  # who was killed before it did anything again would be killed for ever
            ending.wait(chance.random() * 0.5)
            victim = VICTIMS[len(killed) % len(VICTIMS)]
            fleet.wait_restarted(victim, fleet.kill(victim))
            killed.append(victim)
            done = fleet.sql(work)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ending.set()
        thread.join()


class Rollout:
    """A campaign over devices of its own, from its start to its end."""

    def __init__(self, fleet, name, outcome):
        """`outcome` of (stage, is it the last device?): what a device makes of the new version (tests/reporters.py)."""
        self.fleet, self.name, self._outcome = fleet, name, outcome
        pace = {"max_concurrent": 60, "offers_per_minute": 10**6}
        made = campaigning.prepare(fleet, name, DEVICES, PERCENTS, **pace)
        self.pk, self._stages, self._last = made["campaign"], {}, ""
        self.reporters = Reporters(fleet.env()["MQTT_URL"], made["prefix"], self._becomes, PAUSE)

    def run(self, hurt):
        """To its end, while `hurt` goes on."""
        campaigning.start(self.fleet, self.pk)
        rows = self.sql("SELECT d.device_id, u.stage FROM firmware_update u JOIN devices_device d ON d.id = u.device_id"
                        " WHERE u.campaign_id = %s ORDER BY u.place")  # fmt: skip
        self._stages = dict(rows)
        self._last = rows[-1][0]
        began = time.monotonic()
        try:
            with campaigning.probe(self.fleet) as waited, hurt as killed:
                eventually(self._ended, 150, every=0.5, what=f"the end of {self.name}")
        finally:
            self.reporters.close()
            print(f"{self.name}: {self.state} after {time.monotonic() - began:.1f} s, {self.states()}")
        print(f"killed {killed or 'nobody'}, default queue at most {max(waited):.3f} s")
        assert max(waited) < IDLE_TASK_SECONDS

    def sql(self, query):
        return self.fleet.sql(query, self.pk)

    @property
    def state(self):
        return campaigning.state(self.fleet, self.pk)

    def states(self):
        """How many devices ended how."""
        return dict(self.sql("SELECT state, count(*) FROM firmware_update WHERE campaign_id = %s GROUP BY 1"))

    def versions(self):
        """What the devices themselves run, and what the portal believes that they run."""
        theirs = {device.version for device in self.reporters.devices.values()}
        ours = "SELECT DISTINCT p.firmware_version FROM devices_presence p JOIN firmware_update u USING (device_id)" \
            " WHERE u.campaign_id = %s"  # fmt: skip
        return theirs, {version for (version,) in self.sql(ours)}

    def check_offered_once(self):
        """By what devices heard, by what they reported, and by the rows: one update, one attempt."""
        for device in self.reporters.devices.values():
            assert all(attempts == [1] for attempts in device.attempts.values()), device
        whose = "FROM firmware_report r JOIN firmware_update u ON u.id = r.update_id WHERE u.campaign_id = %s"
        assert self.sql(f"SELECT count(*) {whose} AND r.attempt <> 1") == [(0,)]
        reported = self.sql(f"SELECT count(DISTINCT u.update_id), count(DISTINCT u.device_id) {whose}")[0]
        assert reported[0] == reported[1] > 0

    def check_stages(self, passed):
        """Each was opened once and in its turn, and nothing was offered before that."""
        opened = "SELECT stage FROM firmware_verdict WHERE campaign_id = %s AND action = 'open' ORDER BY id"
        assert [stage for (stage,) in self.sql(opened)] == [None, *range(1, passed + 1)][: len(PERCENTS)]
        rows = self.sql(
            "SELECT s.number, s.state, s.started_at, s.ended_at, min(u.offered_at) FROM firmware_stage s"
            " JOIN firmware_update u ON u.campaign_id = s.campaign_id AND u.stage = s.number"
            " WHERE s.campaign_id = %s GROUP BY s.id ORDER BY s.number"
        )
        assert [number for number, state, *_ in rows if state == "passed"] == list(range(1, passed + 1))
        before = None
        for _number, state, started, ended, offered in rows:
            if state == "pending":
                assert offered is None
                continue
            assert started <= offered
            assert before is None or before <= started
            before = ended

    def _becomes(self, device_id, version):
        return (
            self._outcome(self._stages.get(device_id, 0), device_id == self._last)
            if version != FIRST_VERSION
            else "good"
        )

    def _ended(self):
        """Devices that an offer did not reach lose their connection some time; here it is soon."""
        unheard = self.fleet.sql(
            "SELECT d.device_id FROM firmware_update u JOIN devices_device d ON d.id = u.device_id"
            " JOIN devices_devicetype t ON t.id = d.device_type_id"
            " WHERE t.slug = %s AND u.seq = -1 AND u.state IN ('queued', 'notified')"
            " AND u.offered_at < now() - interval '10 s' AND u.changed_at < now() - interval '10 s'",
            self.name,
        )
        self.reporters.reconnect(device_id for (device_id,) in unheard)
        return self.state not in ("running", "rolling_back")


def one_is_damaged(_stage, last):
    return "hash" if last else "good"


def bad_from_the_fourth_stage_on(stage, _last):
    return "boot" if stage >= 4 else "good"


@pytest.mark.parametrize("hurt", [lambda _: nullcontext(), killing], ids=["quiet", "killed"])
def test_a_campaign_reaches_everybody_once_and_stage_by_stage(fleet, hurt):
    rollout = Rollout(fleet, f"all-{'killed' if hurt is killing else 'quiet'}", one_is_damaged)
    rollout.run(hurt(fleet))
    assert rollout.state == "completed"
    assert rollout.states() == {"succeeded": DEVICES - 1, "failed": 1}
    rollout.check_offered_once()
    rollout.check_stages(passed=5)


@pytest.mark.parametrize("hurt", [lambda _: nullcontext(), killing], ids=["quiet", "killed"])
def test_a_bad_release_is_taken_back_from_everybody(fleet, hurt):
    rollout = Rollout(fleet, f"bad-{'killed' if hurt is killing else 'quiet'}", bad_from_the_fourth_stage_on)
    rollout.run(hurt(fleet))
    assert rollout.state == "rolled_back"
    assert rollout.versions() == ({FIRST_VERSION}, {FIRST_VERSION})
    assert set(rollout.states()) <= {"rolled_back", "canceled"}
    rollout.check_offered_once()
    rollout.check_stages(passed=3)
