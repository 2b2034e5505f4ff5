"""A campaign over a large fleet. `CAMPAIGN_DEVICES=100000 pytest -n 0 -s` on this file tells the figures."""

import os
import time

import pytest
from django.db import connection

from devices.models import Presence
from firmware import advancing, campaigns, planning, tallies
from firmware.models import Campaign, Stage, Update
from tests.factories import StaffFactory
from tests.firmware import fleet
from tests.firmware.fleet import MINUTE, NOW

DEVICES = int(os.environ.get("CAMPAIGN_DEVICES", "3000"))
pytestmark = pytest.mark.django_db


def timed(what, work, limit=20):
    began = time.monotonic()
    result = work()
    taken = time.monotonic() - began
    print(f"{what}: {taken * 1000:.0f} ms")
    assert taken < limit
    return result


def analysed(campaign):
    """What the database itself says of counting."""
    stage = tallies.open_stage(campaign)
    told = []

    def explain(execute, sql, params, many, context):
        if not sql.lstrip().startswith("WITH busy"):
            return execute(sql, params, many, context)
        with connection.cursor() as cursor:
            cursor.cursor.execute("EXPLAIN (ANALYZE, BUFFERS OFF) " + sql, params)
            told.extend(row[0] for row in cursor.fetchall())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        tallies.tally(campaign, stage, True, NOW)
    return told


def test_a_large_fleet_is_planned_and_moved_in_time():
    release = fleet.release("2.0.0")
    fleet.devices(DEVICES, release)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE devices_device, devices_presence, firmware_update")
    campaign = fleet.campaign(
        release, (1, 5, 10, 25, 100), state="draft", continuous=True, max_concurrent=1000, offers_per_minute=600
    )
    print(f"\n{DEVICES} devices")
    planned = timed("dry run", lambda: planning.dry_run(campaign, NOW))
    assert planned.targets == DEVICES and not planned.problems
    campaigns.submit(campaign, campaign.author, NOW)
    campaigns.approve(campaign, StaffFactory(), NOW)
    timed("start", lambda: campaigns.start(campaign, campaign.author, NOW))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE firmware_update")
    timed("a first step", lambda: advancing.advance(campaign.pk, NOW))
    timed("another", lambda: advancing.advance(campaign.pk, NOW))
    # Half of the fleet is through, as later stages find it.
    half = list(Update.objects.order_by("place").values_list("pk", flat=True)[: DEVICES // 2])
    Update.objects.filter(pk__in=half).update(
        state="succeeded", offered_at=NOW, ended_at=NOW, installing_at=NOW, rebooting_at=NOW, from_version="1.0.0"
    )
    Stage.objects.update(state="passed", started_at=NOW)
    Stage.objects.filter(percent=100).update(state="rolling", started_at=NOW)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE firmware_update")
    campaign.refresh_from_db()
    counted = timed("tally", lambda: advancing.tally(campaign, NOW))
    assert (counted.targets, counted.succeeded) == (DEVICES, DEVICES // 2)
    print("\n".join(analysed(campaign)))
    print()
    timed("admit nobody", lambda: planning.admit(campaign, NOW))
    timed("a step that offers to 600", lambda: advancing.advance(campaign.pk, NOW + MINUTE))
    for _ in range(3):
        timed("a step that finds the pace full", lambda: advancing.advance(campaign.pk, NOW + MINUTE))
    # And all of that is taken back.
    fleet.release("1.0.0", *release.device_types.all())
    Presence.objects.filter(device__updates__in=half).update(firmware_version="2.0.0")
    operator = StaffFactory()
    timed("roll back", lambda: campaigns.roll_back(campaign, operator, "It is bad.", NOW + MINUTE))
    child = Campaign.objects.get(rollback_of=campaign)
    timed("its first step", lambda: advancing.advance(child.pk, NOW + MINUTE))
    timed("a step of its parent", lambda: advancing.advance(campaign.pk, NOW + MINUTE))
    assert child.updates.active().count() and Campaign.objects.get(pk=campaign.pk).state == "rolling_back"
