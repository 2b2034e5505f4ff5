"""Why planned updates wait: said in one statement for all of a campaign, and written only where it changes."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from django.db import connection

from firmware import windows
from firmware.models import Campaign
from firmware.states import ACTIVE, BEFORE_INSTALL
from firmware.versions import is_older

# `other`: the one update that has the device now, if any. Where it may be superseded, it is not in the way.
_SAY = """
    UPDATE firmware_update u SET waiting = why.word, detail = why.detail
      FROM (
        SELECT mine.id,
               CASE WHEN d.state <> 'active' OR NOT p.online OR p.session < 0 THEN 'offline'
                    WHEN EXISTS (SELECT FROM devices_device_groups g
                                  WHERE g.device_id = d.id AND g.group_id = ANY(%(frozen)s::bigint[]))
                      OR EXISTS (SELECT FROM devices_device_groups g
                                  WHERE g.device_id = d.id AND g.group_id = ANY(%(slotted)s::bigint[]))
                         AND NOT EXISTS (SELECT FROM devices_device_groups g
                                  WHERE g.device_id = d.id AND g.group_id = ANY(%(open)s::bigint[])) THEN 'window'
                    WHEN other.in_the_way THEN 'busy'
                    ELSE 'pacing' END AS word,
               CASE WHEN d.state <> 'active' THEN 'The device is ' || d.state || '.'
                    WHEN p.online AND p.session < 0 THEN 'It speaks HTTPS only; offers are made over MQTT.'
                    WHEN p.online AND other.in_the_way THEN other.name
                    ELSE '' END AS detail
          FROM firmware_update mine
          JOIN devices_device d ON d.id = mine.device_id
          JOIN devices_presence p ON p.device_id = mine.device_id
          LEFT JOIN (
            SELECT o.device_id, c.name,
                   NOT (o.state = ANY(%(before_install)s) AND o.campaign_id = ANY(%(weaker)s::bigint[])
                        OR o.state = 'verifying' AND o.campaign_id = %(parent)s) AS in_the_way
              FROM firmware_update o JOIN firmware_campaign c ON c.id = o.campaign_id
             WHERE o.state IN ({active}) AND o.offered_at IS NOT NULL) AS other ON other.device_id = mine.device_id
         WHERE mine.campaign_id = %(campaign)s AND mine.state = 'queued' AND mine.offered_at IS NULL
           AND mine.place <= %(upto)s {only}) AS why
     WHERE u.id = why.id AND (u.waiting, u.detail) IS DISTINCT FROM (why.word, why.detail)
""".replace("{active}", ", ".join(f"'{state}'" for state in ACTIVE))  # as the partial index has it


def say(campaign: Campaign, upto: int, now: datetime, pks: Sequence[int] | None = None) -> None:
    """Note for each planned device up to this place why it waits: offline, window, busy, or only for its turn (pacing).

    `pks`: only for these updates. Inside the transaction of who holds the campaign's row: nobody else writes to what
    is planned.
    """
    kept = windows.at(now) if campaign.use_windows else windows.NONE
    with connection.cursor() as cursor:
        cursor.execute(
            _SAY.replace("{only}", "" if pks is None else "AND mine.id = ANY(%(pks)s::bigint[])"),
            asdict(kept)
            | {
                "campaign": campaign.pk,
                "upto": upto,
                "pks": pks,
                "parent": campaign.rollback_of_id or 0,
                "weaker": weaker(campaign),
                "before_install": [str(state) for state in BEFORE_INSTALL],
            },
        )


def weaker(campaign: Campaign) -> list[int]:
    """Campaigns whose updates give way to this one's while nothing is written: to a newer version, or to a rollback."""
    others = Campaign.objects.under_way().filter(rollback_of__isnull=True).exclude(pk=campaign.pk)
    if campaign.release is None:
        return list(others.values_list("pk", flat=True))
    target = campaign.release.version
    return [pk for pk, version in others.values_list("pk", "release__version") if is_older(version or "", target)]
