"""The sweep: starts what is due, and has each campaign looked at by a task of its own that does not wait for ever."""

import os
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from firmware import artifacts, campaigns, tasks
from firmware.models import Campaign, Update
from fleetportal.celery import app
from tests.factories import StaffFactory
from tests.firmware import fleet

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def asked(monkeypatch):
    """The queue belongs to another process."""
    sent = []
    monkeypatch.setattr(tasks.advance, "apply_async", lambda args, **options: sent.append((args[0], options)))
    return sent


def test_what_moves_campaigns_runs_on_the_queue_of_rollouts():
    router = app.amqp.Router()
    for name in ("firmware.tasks.sweep", "firmware.tasks.advance"):
        assert router.route({}, name)["queue"].name == "rollout"
    assert settings.CELERY_BEAT_SCHEDULE["rollout"]["task"] == "firmware.tasks.sweep"


def test_the_store_is_tidied_daily_behind_nothing_that_moves_campaigns(settings, tmp_path):
    assert app.amqp.Router().route({}, "firmware.tasks.tidy")["queue"].name == "default"
    assert {"task": "firmware.tasks.tidy", "schedule": 86400.0}.items() <= settings.CELERY_BEAT_SCHEDULE[
        "firmware-store"
    ].items()
    settings.FIRMWARE_DIRECTORY = tmp_path
    old = tmp_path / artifacts.INCOMING / "half"
    old.parent.mkdir()
    old.write_bytes(b"half of it")
    os.utime(old, (0, 0))
    assert tasks.tidy() == 1 and not old.exists()


def test_has_everything_under_way_looked_at_the_longest_waiting_first(asked):
    release = fleet.release()
    states = ("running", "paused", "aborting", "rolling_back", "completed", "draft", "scheduled")
    rows = {state: fleet.campaign(release, state=state) for state in states}
    now = timezone.now()
    for state, hours in (("running", 1), ("paused", 3), ("rolling_back", 2)):
        Campaign.objects.filter(pk=rows[state].pk).update(advanced_at=now - hours * HOUR)
    assert tasks.sweep() == 4
    assert [pk for pk, _ in asked] == [rows[each].pk for each in ("aborting", "paused", "rolling_back", "running")]
    assert all(options["expires"] == settings.ROLLOUT_EVERY.total_seconds() for _, options in asked)


def test_starts_what_is_due_and_advances_it(asked):
    release = fleet.release()
    fleet.devices(3, release)
    campaign = fleet.campaign(release, (100,), state="draft")
    before = timezone.now() - HOUR
    campaigns.submit(campaign, campaign.author, before)
    campaigns.approve(campaign, StaffFactory(), before)
    campaigns.schedule(campaign, campaign.author, before, before)
    tasks.sweep()
    assert [pk for pk, _ in asked] == [campaign.pk]
    assert tasks.advance(campaign.pk) == "offer"
    assert Update.objects.active().count() == 3


def test_what_is_over_is_nothing_to_advance():
    assert tasks.advance(fleet.campaign(fleet.release(), state="completed").pk) == ""
