"""Updates: what reports, births and time do to them. `reporting.py` decides, this acts.

Lock order: first the campaign's row, then its updates by pk. What reports take is waited for; what a sweep takes, it
takes only where nobody else is at work (SKIP LOCKED), so the two cannot lock each other out.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from redis import RedisError

from devices import listening
from devices.contract import UpdateReport
from devices.models import Device
from devices.registry import Known
from firmware import holds, moving, reporting, timeline
from firmware.models import Campaign, Stop, Update, Verified
from firmware.states import ACTIVE, FAILURES, UNDER_WAY, CampaignState, UpdateState, Waiting

BATCH = 5000
"""Updates of a campaign that time moves in one look, of each kind."""
LEFT_BEHIND = "rolled_back"
"""Why an update is CANCELED that a rollback met while it was still being verified."""
IDLE = "unresponsive"
"""Why an update is TIMED_OUT whose device was online and did nothing with its offer."""
_LONGEST = 3
"""So many install timeouts, or the stage's if that is longer, an installation takes at most, whatever it says."""
Row = Any
"""An update with what was asked for beside it, as names of their own."""
_LIVE = Q(state__in=ACTIVE) | Q(state=UpdateState.SUCCEEDED, campaign__state__in=UNDER_WAY)


def record_reports(reports: Sequence[tuple[Known, UpdateReport]], now: datetime) -> set[int]:
    """Take in reports, in order. Returns pks of the campaigns something changed in. Inside the caller's transaction.

    A report for an update that is not this device's, or was never offered, raises nothing here: the porter (ingest.py)
    refuses it first with `known`.
    """
    return take(reports, (), now)


def known(reports: Sequence[tuple[Known, UpdateReport]]) -> set[int]:
    """Indexes of those reports whose update exists, is that device's, and was offered."""
    asked = {report.update_id for _, report in reports}
    found = dict(
        Update.objects.filter(update_id__in=asked, offered_at__isnull=False).values_list("update_id", "device_id")
    )
    return {number for number, (device, report) in enumerate(reports) if found.get(report.update_id) == device.pk}


def births(device_pks: Iterable[int], now: datetime) -> set[int]:
    """Devices came online: judge their updates by what they run. Returns pks of the campaigns something changed in."""
    return take((), device_pks, now)


def take(reports: Sequence[tuple[Known, UpdateReport]], born: Iterable[int], now: datetime) -> set[int]:
    """Reports and births of one batch: their rows are locked together, so that two batches never cross.

    Births are judged after the reports: by the newest one of each device, which is in its presence already.
    """
    born = set(born)
    rows = _lock({report.update_id for _, report in reports}, born)
    before = {row.pk: moving.facts(row, row.target, row.campaign_state, led_back=row.led_back) for row in rows}
    facts = dict(before)
    mine = {(row.update_id, row.device_id): row for row in rows}
    lines = []
    for device, report in reports:
        row = mine.get((report.update_id, device.pk))
        if row is None:
            continue
        old = facts[row.pk]
        new = facts[row.pk] = reporting.receive(old, report)
        turn = new.state is not old.state
        lines.append(timeline.Line(row.pk, report, applied=turn or new.seq != old.seq, turn=turn))
    for row in rows:
        if row.device_id in born:
            facts[row.pk] = reporting.born(facts[row.pk], row.version_now, row.boot_now)
    moved = [row for row in rows if facts[row.pk] is not before[row.pk]]
    for row in moved:
        moving.put(row, facts[row.pk], now)
    moving.write(moved)
    _no_longer_verified([row for row in moved if before[row.pk].state is UpdateState.SUCCEEDED])
    timeline.keep(lines, now)
    holds.after_failures([row for row in moved if _failed(row) and before[row.pk].state not in FAILURES], now)
    return {row.campaign_id for row in moved} | _awaited(born)


def _lock(update_ids: Iterable[object], born: Iterable[int]) -> list[Row]:
    asked = Q(update_id__in=list(update_ids))
    if born:
        asked |= Q(device_id__in=list(born)) & _LIVE
    way_back = Update.objects.filter(
        campaign__rollback_of=OuterRef("campaign"), device=OuterRef("device"), offered_at__isnull=False
    )
    rows = (
        Update.objects.filter(asked, offered_at__isnull=False)
        .annotate(
            target=F("release__version"),
            fallback_version=F("fallback__version"),
            campaign_state=F("campaign__state"),
            led_back=Exists(way_back),
            version_now=F("device__presence__firmware_version"),
            boot_now=F("device__presence__boot_id"),
        )
        .order_by("pk")
        .select_for_update(of=("self",), no_key=True)
    )
    return list(rows) if update_ids or born else []


def _no_longer_verified(reverted: Iterable[Row]) -> None:
    """Devices that left a version that was verified on them: what was so before is what they are taken back to."""
    for row in sorted(reverted, key=lambda row: row.device_id):
        verified = Verified.objects.filter(device=row.device_id, version=row.target)
        if row.fallback_id is None:
            verified.delete()
        else:
            verified.update(version=row.fallback_version, release=row.fallback_id, verified_at=row.offered_at)


def _awaited(born: Iterable[int]) -> set[int]:
    """Campaigns that waited for one of these devices to come online."""
    if not born:
        return set()
    waited = Update.objects.planned().filter(
        device_id__in=list(born), waiting=Waiting.OFFLINE, campaign__state=CampaignState.RUNNING
    )
    return set(waited.values_list("campaign_id", flat=True).distinct())


def _failed(row: Update) -> bool:
    if row.reason_code == holds.TAKEN_BACK:
        return False
    return row.state in FAILURES and (row.state != UpdateState.TIMED_OUT or row.installing_at is not None)


# --- what time does -------------------------------------------------------------------------------------------------


def settle(campaign: Campaign, now: datetime) -> list[Update]:
    """What time does: verified ones succeed, silent installations and idle offers time out, devices that left go.

    Inside the caller's transaction, which holds the campaign's row. Returns the updates that ended. At most `BATCH` of
    each kind; what is being reported on at this moment is left to the next look.
    """
    heard = listened()
    ended = [*_succeed(campaign, now), *_time_out(campaign, heard, now), *_remove(campaign, now)]
    return ended + _give_up(campaign, heard, now)


def listened() -> timedelta:
    """For how long we have heard devices without a gap. Silence is theirs only as far as it lies within."""
    try:
        return timedelta(seconds=listening.seconds())
    except RedisError:
        return timedelta()


def _succeed(campaign: Campaign, now: datetime) -> list[Update]:
    latest = now - campaign.verify_time
    ready = Update.objects.filter(
        campaign=campaign,
        state=UpdateState.VERIFYING,
        checked_at__lte=latest,
        device__presence__online=True,
        device__presence__changed_at__lte=latest,
        device__presence__firmware_version=F("release__version"),
    )
    # The updates it leads back from come first in the order of locks: they are waited for before anything is held.
    left = _lock_left(campaign, ready) if campaign.rollback_of_id else []
    beside = ready.annotate(
        target=F("release__version"),
        version_now=F("device__presence__firmware_version"),
        boot_now=F("device__presence__boot_id"),
        online_since=F("device__presence__changed_at"),
    )
    rows: list[Row] = list(_take_what_is_free(beside))
    proved = [row for row in rows if _is_verified(row, campaign, now)]
    for row in proved:
        moving.end(row, UpdateState.SUCCEEDED, "", "", now)
    moving.write(proved)
    _note_verified(proved, now)
    back = {row.device_id for row in proved}
    taken = [row for row in left if row.device_id in back]
    for row in taken:
        moving.end(row, UpdateState.ROLLED_BACK, holds.TAKEN_BACK, "The portal took it back.", now)
    moving.write(taken)
    return proved


def _is_verified(row: Row, campaign: Campaign, now: datetime) -> bool:
    healthy_since = max(row.checked_at or now, row.online_since)
    facts = moving.facts(row, row.target, campaign.state)
    return reporting.is_verified(facts, row.version_now, row.boot_now, healthy_since, campaign.verify_time, now)


def _lock_left(child: Campaign, ready: QuerySet[Update]) -> list[Update]:
    """The parent's updates of these devices that a successful rollback undoes."""
    undone = Q(state__in=[UpdateState.SUCCEEDED, UpdateState.VERIFYING]) | Q(
        state=UpdateState.CANCELED, reason_code=LEFT_BEHIND, rebooting_at__isnull=False
    )
    rows = Update.objects.filter(undone, campaign=child.rollback_of, device__in=ready.values("device"))
    return list(rows.order_by("pk").select_for_update(no_key=True)[:BATCH])


def _note_verified(rows: Sequence[Row], now: datetime) -> None:
    Verified.objects.bulk_create(
        [
            Verified(device_id=row.device_id, version=row.target, release_id=row.release_id, verified_at=now)
            for row in sorted(rows, key=lambda row: row.device_id)
        ],
        update_conflicts=True,
        unique_fields=["device"],
        update_fields=["version", "release", "verified_at"],
    )


def _time_out(campaign: Campaign, heard: timedelta, now: datetime) -> list[Update]:
    """Installations that said nothing for too long; a reboot may wait for its jitter, and a proof takes its time.

    Not while our own ears were closed: what was said meanwhile comes first. None goes on for ever, whatever it says.
    """
    patience = {
        UpdateState.INSTALLING: campaign.install_timeout,
        UpdateState.REBOOTING: campaign.install_timeout + campaign.reboot_jitter,
        UpdateState.VERIFYING: campaign.install_timeout + campaign.verify_time,
    }
    over = Q(pk__in=[])
    for state, length in patience.items():
        if heard >= length:
            over |= Q(state=state, changed_at__lt=now - length)
    if heard >= campaign.install_timeout:
        longest = max(campaign.stage_timeout, _LONGEST * campaign.install_timeout)
        over |= Q(state__in=list(patience), installing_at__lt=now - longest)
    rows = list(_take_what_is_free(Update.objects.filter(over, campaign=campaign)))
    for row in rows:
        text = "said nothing more" if row.changed_at < now - patience[UpdateState(row.state)] else "did not end"
        moving.end(row, UpdateState.TIMED_OUT, "timeout", f"It {text} while {row.state}.", now)
    moving.write(rows)
    holds.after_failures([row for row in rows if _failed(row)], now)
    return rows


def _give_up(campaign: Campaign, heard: timedelta, now: datetime) -> list[Update]:
    """Offers whose device has been online for long and does nothing with them: others may have their place.

    Not of those that said what they wait for, nor while the campaign, or everything, is halted.
    """
    latest = now - campaign.stage_timeout
    halted = campaign.resumed_at is not None and campaign.resumed_at > latest
    if campaign.state != CampaignState.RUNNING or halted or heard < campaign.install_timeout:
        return []
    idle = Update.objects.revocable().filter(
        Q(seq=-1) | Q(changed_at__lt=latest),
        campaign=campaign,
        offered_at__lt=latest,
        waiting=Waiting.NO,
        device__presence__online=True,
        device__presence__changed_at__lt=now - campaign.offline_grace,  # one that is back gets its time
    )
    rows = list(_take_what_is_free(idle))
    if not rows or Stop.objects.filter(Q(ended_at__isnull=True) | Q(ended_at__gt=latest)).exists():
        return []
    for row in rows:
        moving.end(row, UpdateState.TIMED_OUT, IDLE, "It was online and did nothing with its offer.", now)
    moving.write(rows)
    return rows


def _remove(campaign: Campaign, now: datetime) -> list[Update]:
    gone = Update.objects.filter(
        campaign=campaign, state__in=ACTIVE, device__state=Device.State.DECOMMISSIONED
    )  # a quarantined one may be released again: it waits
    rows = list(_take_what_is_free(gone))
    for row in rows:
        moving.end(row, UpdateState.REMOVED, "removed", "The device was taken out of service.", now)
    moving.write(rows)
    return rows


def _take_what_is_free(rows: QuerySet[Update]) -> QuerySet[Update]:
    return rows.order_by("pk").select_for_update(of=("self",), skip_locked=True, no_key=True)[:BATCH]
