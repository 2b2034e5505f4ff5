"""Counting a campaign's devices: one statement for the numbers of `rollout.Tally`, and who of them is silent."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from firmware import gates, moving, rollout, updates, waiting
from firmware.models import Campaign, Stage
from firmware.rollout import Tally
from firmware.states import ACTIVE, BEFORE_INSTALL, StageState

GRACES_OF_WATCH = 3
"""A device is watched for the verify time and so many grace periods after its reboot: if it goes offline then and stays
so, the release may have done it; later it is a parked vehicle. The control group is watched for as long."""
OPEN = (StageState.ROLLING, StageState.SOAKING)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)

# One statement, so that all numbers are of one moment; but the devices' tables are read only for those of whom it
# matters: who is still to end in the open stages, and who rebooted and is offline.
# Busy is who has another campaign's update that does not give way to this one (waiting.py).
_TALLY = """
    WITH busy AS (
        SELECT o.device_id FROM firmware_update o
         WHERE o.offered_at IS NOT NULL AND o.state IN ({active}) AND o.campaign_id <> %(campaign)s
           AND NOT (o.state = ANY(%(before_install)s) AND o.campaign_id = ANY(%(weaker)s::bigint[])
                    OR o.state = 'verifying' AND o.campaign_id = %(parent)s)),
    alike AS (
        SELECT u.state, u.stage <= %(stage)s AS here, u.stage = %(stage)s AS own,
               u.offered_at IS NOT NULL AS was_offered, u.installing_at IS NOT NULL AS has_installed,
               u.rebooting_at IS NOT NULL AS has_rebooted, u.ended_at >= %(fresh)s AS fresh,
               u.ended_at >= %(recent)s AS recent,
               u.state = 'canceled' AND u.reason_code <> ALL(%(our_reasons)s) AS gave_up,
               u.reason_code = 'taken_back' AS taken_back,
               count(*) AS n, max(u.offered_at) AS last_offered_at
          FROM firmware_update u WHERE u.campaign_id = %(campaign)s
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    kinds AS (
        SELECT *, state IN ('failed', 'rolled_back') AND NOT taken_back
                  OR state = 'timed_out' AND has_installed AS failed,
               was_offered AND state IN ({active}) AS active
          FROM alike),
    counted AS (
        SELECT sum(n) FILTER (WHERE state NOT IN ('removed', 'skipped')) AS targets,
               sum(n) FILTER (WHERE was_offered) AS offered,
               sum(n) FILTER (WHERE state = 'succeeded') AS succeeded,
               sum(n) FILTER (WHERE failed) AS failed,
               sum(n) FILTER (WHERE state = 'rejected') AS rejected,
               sum(n) FILTER (WHERE (failed OR state IN ('succeeded', 'rejected')) AND fresh) AS fresh_ended,
               sum(n) FILTER (WHERE state = 'rejected' AND fresh) AS fresh_rejected,
               sum(n) FILTER (WHERE state = 'succeeded' AND recent) AS recent_succeeded,
               sum(n) FILTER (WHERE failed AND recent) AS recent_failed,
               sum(n) FILTER (WHERE has_rebooted AND state NOT IN ('removed', 'canceled', 'skipped')) AS rebooted,
               sum(n) FILTER (WHERE here AND state = 'succeeded') AS stage_succeeded,
               sum(n) FILTER (WHERE active) AS active,
               sum(n) FILTER (WHERE state IN ('installing', 'rebooting', 'verifying')) AS installing,
               sum(n) FILTER (WHERE here AND (gave_up OR state = 'timed_out' AND NOT failed)) AS canceled_by_device,
               sum(n) FILTER (WHERE own AND state = 'succeeded') AS own_succeeded,
               sum(n) FILTER (WHERE own AND state IN ({active})) AS own_left
          FROM kinds),
    still AS (
        SELECT u.offered_at IS NOT NULL AS active, u.waiting,
               u.state = ANY(%(before_reboot)s) AND NOT coalesce(p.online, true) AND p.changed_at < %(grace)s AS away,
               p.device_id IS NULL AND d.id IS NULL AND busy.device_id IS NULL AS free
          FROM firmware_update u
          LEFT JOIN devices_presence p ON p.device_id = u.device_id AND (NOT p.online OR p.session < 0)
          LEFT JOIN devices_device d ON d.id = u.device_id AND d.state <> 'active'
          LEFT JOIN busy ON busy.device_id = u.device_id
         WHERE u.campaign_id = %(campaign)s AND u.state IN ({active}) AND u.stage <= %(stage)s),
    to_come AS (
        SELECT count(*) FILTER (WHERE active AND away IS NOT TRUE) AS stage_active,
               count(*) FILTER (WHERE active AND away) AS stage_away,
               count(*) FILTER (WHERE NOT active AND free) AS stage_due,
               count(*) FILTER (WHERE NOT active AND NOT free) AS stage_absent,
               count(*) FILTER (WHERE NOT active AND free AND waiting = 'window') AS stage_window
          FROM still),
    gone AS (
        SELECT count(*) FILTER (WHERE u.state <> 'succeeded') AS lost,
               count(*) FILTER (WHERE u.state = 'succeeded' AND p.changed_at < u.rebooting_at + %(watch)s) AS fell
          FROM devices_presence p JOIN firmware_update u ON u.device_id = p.device_id
         WHERE u.campaign_id = %(campaign)s AND u.state IN ('rebooting', 'verifying', 'succeeded')
           AND u.rebooting_at < %(grace)s AND NOT p.online AND p.changed_at < %(grace)s
           AND p.changed_at >= %(known)s)
    SELECT counted.*, to_come.*, gone.*, (SELECT max(last_offered_at) FROM alike WHERE here) AS last_offered_at
      FROM counted, to_come, gone
""".replace("{active}", ", ".join(f"'{state}'" for state in ACTIVE))  # as the partial index has it
_CONTROL = """
    SELECT count(*) FILTER (WHERE p.online OR p.changed_at > %(watched)s),
           count(*) FILTER (WHERE NOT p.online AND p.changed_at > %(watched)s)
      FROM devices_presence p
"""
_NOT_YET = (
    _CONTROL
    + """
      JOIN firmware_update u ON u.device_id = p.device_id
     WHERE u.campaign_id = %(campaign)s AND u.state = 'queued' AND u.offered_at IS NULL
"""
)
# In the last stage nobody of the campaign is left to compare with: the rest of the fleet is.
_REST = (
    _CONTROL
    + """
      JOIN devices_device d ON d.id = p.device_id
     WHERE d.state = 'active' AND NOT EXISTS (
         SELECT FROM firmware_update u
          WHERE u.campaign_id = %(campaign)s AND u.device_id = p.device_id AND u.offered_at IS NOT NULL)
"""
)


def open_stage(campaign: Campaign) -> Stage | None:
    """The one that is rolling or soaking."""
    return Stage.objects.filter(campaign=campaign, state__in=OPEN).first()


def tally(campaign: Campaign, stage: Stage | None, last: bool, now: datetime) -> Tally:
    """Count a campaign's devices while this stage is open; `last`: there is none after it.

    One query, and one for the control group while updated devices are silent: those that never came back from their
    reboot, and of those that did, the ones that went while they were watched, as far as they are more than the control
    group lets expect. Who was silent when the campaign was resumed is known to whoever resumed it. Nobody is silent
    or away while we were deaf ourselves.
    """
    since = max(filter(None, (campaign.started_at, campaign.resumed_at)), default=campaign.created_at)
    watch = campaign.verify_time + GRACES_OF_WATCH * campaign.offline_grace
    asked: dict[str, Any] = {
        "campaign": campaign.pk,
        "stage": stage.number if stage else 0,
        "before_install": [str(state) for state in BEFORE_INSTALL],
        "before_reboot": [*map(str, BEFORE_INSTALL), "installing"],
        "our_reasons": list(moving.OUR_REASONS),
        "parent": campaign.rollback_of_id or 0,
        "weaker": waiting.weaker(campaign),
        "fresh": since,
        "recent": max(since, now - rollout.BURN_WINDOW),
        "grace": now - campaign.offline_grace if updates.listened() >= campaign.offline_grace else _NEVER,
        "known": campaign.resumed_at or _NEVER,
        "watch": watch,
        "watched": now - watch,
    }
    with connection.cursor() as cursor:
        cursor.execute(_TALLY, asked)
        *numbers, offered_at = cursor.fetchone()
        names = [column.name for column in cursor.description[:-1]]
        counted = {name: int(number or 0) for name, number in zip(names, numbers, strict=True)}
        lost, fell = counted.pop("lost"), counted.pop("fell")
        if lost or fell:
            cursor.execute(_REST if last else _NOT_YET, asked)
            counted["control"], counted["control_gone"] = cursor.fetchone()
    found = Tally(**counted, last_offered_at=offered_at)
    return replace(found, silent=lost + _beyond_chance(campaign, found, fell))


def _beyond_chance(campaign: Campaign, tally: Tally, fell: int) -> int:
    """How many of the verified devices that went meanwhile the release may have to answer for.

    In an outage all of them: the gate sees the control group, too, and only pauses.
    """
    if tally.control_gone * gates.WHOLE > campaign.offline_rate * tally.control:
        return fell
    usual = -(-tally.succeeded * tally.control_gone // tally.control) if tally.control else 0
    return max(0, fell - usual)
