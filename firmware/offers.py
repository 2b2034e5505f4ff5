"""Offers: which devices of an open stage get theirs now, and what takes offers back.

A device has one active update at most: the database insists (`update_one_active`). Who offers locks the device first,
where nobody else has it, so that two campaigns rarely meet there, and never wait for each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from firmware import moving, pacing, permits, stopping, waiting
from firmware.models import Campaign, Compatibility, Hold, Stop, Update
from firmware.states import BEFORE_INSTALL, CampaignState, StageState, UpdateState, Waiting
from firmware.updates import LEFT_BEHIND, Row
from firmware.versions import is_older

_PAGE = 500
_PAGES = 10
"""Devices looked at in one go, and how often: who is skipped must not keep those behind waiting."""
MOST = 2000
"""Offers of one look."""
_UNHEARD = timedelta(minutes=1)
"""An offer that a device which is online did not react to for so long is said again."""
_SAID_AGAIN = 500
_WORDS_EVERY = timedelta(seconds=15)
"""How often all of a campaign's devices are told why they wait; those whose turn it is, at every look."""
ELSEWHERE = "elsewhere"
"""Why an update of a rollback is SKIPPED whose device runs another version than the bad one by now."""
_OFFERED = (
    "waiting", "detail", "from_version", "fallback", "offered_boot_id", "permit", "permit_key", "offered_at",
    "changed_at",
)  # fmt: skip
_BEFORE_INSTALL = ", ".join(f"'{state}'" for state in BEFORE_INSTALL)  # constants: a partial index has them, too
_COUNT = f"""
    SELECT (SELECT count(*) FROM firmware_update u JOIN devices_presence p ON p.device_id = u.device_id
             WHERE u.campaign_id = %(campaign)s AND u.offered_at IS NOT NULL
               AND u.state IN ({_BEFORE_INSTALL})
               AND u.waiting = '' AND (p.online OR p.changed_at > %(grace)s)),
           count(*) FILTER (WHERE offered_at > %(minute)s),
           count(*) FILTER (WHERE state = 'succeeded'),
           count(*) FILTER (WHERE state IN ('installing', 'rebooting', 'verifying'))
      FROM firmware_update WHERE campaign_id = %(campaign)s
"""  # noqa: S608 (made of constants only)
_WITHDRAW = f"""
    WITH mine AS (
        SELECT id FROM firmware_update WHERE campaign_id = %(campaign)s AND state IN ({_BEFORE_INSTALL})
         ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE firmware_update u
       SET state = 'canceled', reason_code = %(reason)s, detail = '', waiting = '', ended_at = %(now)s,
           changed_at = %(now)s
      FROM mine WHERE u.id = mine.id RETURNING u.id, u.offered_at IS NOT NULL
"""  # noqa: S608 (made of constants only)


def offer(campaign: Campaign, now: datetime) -> list[Update]:
    """Offer the update to as many planned devices of the open stages as pace, windows and presence allow.

    Inside the caller's transaction, which holds the campaign's row; checks the global stop and the campaign's state
    once more, and keeps a stop from beginning until it ends. Says in `waiting` why the others wait. Returns whom to
    tell after the commit: those offered now, those superseded, and those that were told before and never reacted.
    """
    stopping.enter()
    upto = _open_upto(campaign)
    if upto is None:
        return []
    room = min(MOST, pacing.room(_pace(campaign, now)))
    _say_why(campaign, upto, room, now)
    offered: list[Row] = []
    told: list[Update] = []
    for _ in range(_PAGES):
        if room <= len(offered):
            break
        page = _candidates(campaign, _next(campaign, upto, max(_PAGE, room)))
        chosen, skipped, judged = _judge(campaign, page, room - len(offered), now)
        moving.write(skipped)
        free, superseded = _supersede(campaign, chosen, now)
        offered += _hand_out(campaign, free, now)
        told += superseded
        if judged < len(page) or len(page) < _PAGE:
            break
    return [*offered, *told, *_say_again(campaign, now)]


def withdraw(campaign: Campaign, now: datetime, reason_code: str) -> list[Update]:
    """Take back what is planned or offered and not yet being installed: CANCELED. Returns whom to tell.

    What is being reported on at this very moment is left: call it at each look, until nothing is left to take back.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WITHDRAW, {"campaign": campaign.pk, "reason": reason_code, "now": now})
        offered = [pk for pk, was_offered in cursor.fetchall() if was_offered]
    return list(Update.objects.filter(pk__in=offered))


def _open_upto(campaign: Campaign) -> int | None:
    """The last place that is open now. None: nothing may be offered, as things are in the database now."""
    stopped = Stop.objects.filter(ended_at__isnull=True)
    stages = campaign.stages.filter(
        ~Exists(stopped),
        campaign__state=CampaignState.RUNNING,
        state__in=[StageState.ROLLING, StageState.SOAKING, StageState.PASSED],
    )
    return stages.order_by("-upto").values_list("upto", flat=True).first()


def _say_why(campaign: Campaign, upto: int, room: int, now: datetime) -> None:
    """Note why devices wait: of all of them now and then, and where too few are ready; else of those that are."""
    if campaign.advanced_at is not None and _slot(now) == _slot(campaign.advanced_at):
        ready = _next(campaign, upto, max(_PAGE, room)) if room else []
        if room and len(ready) >= room:
            waiting.say(campaign, upto, now, ready)
        if not room or len(_next(campaign, upto, room)) >= room:
            return
    waiting.say(campaign, upto, now)


def _slot(at: datetime) -> int:
    return int(at.timestamp() // _WORDS_EVERY.total_seconds())


def _pace(campaign: Campaign, now: datetime) -> pacing.Pace:
    """Devices that are away, or wait for power or space of their own, take nobody's turn."""
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT,
            {"campaign": campaign.pk, "grace": now - campaign.offline_grace, "minute": now - timedelta(minutes=1)},
        )
        in_flight, lately, succeeded, installing = cursor.fetchone()
    return pacing.Pace(
        campaign.max_concurrent, campaign.offers_per_minute, in_flight, lately, succeeded, in_flight + installing
    )


def _next(campaign: Campaign, upto: int, most: int) -> list[int]:
    """The next planned updates (pks) that only wait for their turn: read in their order from an index of their own."""
    rows = Update.objects.planned().filter(
        campaign=campaign, place__lte=upto, waiting=Waiting.PACING, release__isnull=False
    )
    return list(rows.order_by("place").values_list("pk", flat=True)[:most])


def _candidates(campaign: Campaign, pks: Sequence[int]) -> list[Row]:
    """These planned updates, locked with their devices, as far as nobody else has them."""
    holds = Hold.objects.filter(device=OuterRef("device"), cleared_at__isnull=True)
    versions = holds.filter(kind=Hold.Kind.VERSION)
    rows = (
        Update.objects.planned()
        .filter(pk__in=pks, campaign=campaign)
        .annotate(
            target=F("release__version"),
            oldest=F("release__min_version"),
            version_now=F("device__presence__firmware_version"),
            boot_now=F("device__presence__boot_id"),
            verified_release=F("device__verified__release"),
            verified_blocked=Exists(versions.filter(version=OuterRef("device__verified__release__version"))),
            running_blocked=Exists(versions.filter(version=OuterRef("device__presence__firmware_version"))),
            blocked=Exists(versions.filter(version=OuterRef("release__version"))),
            boxed=Exists(holds.filter(kind=Hold.Kind.PENALTY)),
        )
        .select_related("device", "release__artifact")
        .order_by("place")
        .select_for_update(of=("self", "device"), skip_locked=True, no_key=True)
    )
    return list(rows)


def _judge(campaign: Campaign, page: Sequence[Row], room: int, now: datetime) -> tuple[list[Row], list[Row], int]:
    """Who of a page may have it (as many as there is room for), who is skipped, and how many were looked at."""
    parent = campaign.rollback_of
    led_back_from = None if parent is None else parent.release.version if parent.release else ""
    chosen: list[Row] = []
    skipped: list[Row] = []
    for row in page:
        if len(chosen) >= room:
            break
        code, text = _objection(row, led_back_from)
        if code:
            moving.end(row, UpdateState.SKIPPED, code, text, now)
            skipped.append(row)
        else:
            chosen.append(row)
    return chosen, skipped, len(chosen) + len(skipped)


def _objection(row: Row, led_back_from: str | None) -> tuple[str, str]:
    """Why a device must not have it, in a word and for people; nothing: it may.

    `led_back_from`: the version that a rollback takes away (from nobody who runs another one); None: it is none.
    """
    running = row.version_now
    found = ("", "")
    if running == row.target:
        found = "already_installed", f"It runs {running} already."
    elif led_back_from is not None:
        if not running:
            found = "unknown_version", "It does not say what it runs, so no permit can name it."
        elif running != led_back_from:
            found = ELSEWHERE, f"It runs {running} by now, not {led_back_from}."
    elif row.blocked:
        found = "version_blocked", f"{row.target} failed on this device before."
    elif row.boxed:
        found = "penalty_box", "It failed too often lately."
    elif is_older(row.target, than=running):
        found = "anti_rollback", f"It runs {running}, which is newer."
    elif row.oldest and is_older(running, than=row.oldest):
        found = "incompatible", f"It runs {running or 'an unknown version'}; at least {row.oldest} is needed."
    return found


def _in_the_way(campaign: Campaign, rows: Sequence[Row]) -> QuerySet[Update]:
    """What other campaigns offered to these devices, and gives way to this one."""
    gives_way = Q(state__in=BEFORE_INSTALL, campaign__in=waiting.weaker(campaign))
    if campaign.rollback_of_id is not None:
        gives_way |= Q(state=UpdateState.VERIFYING, campaign=campaign.rollback_of_id)
    return Update.objects.active().filter(gives_way, device__in=[row.device_id for row in rows])


def _supersede(campaign: Campaign, chosen: list[Row], now: datetime) -> tuple[list[Row], list[Update]]:
    """End what gives way to these offers. Returns whose way is free, and whom to tell that theirs is withdrawn.

    One that is being reported on at this moment is left, with whoever waits for it.
    """
    if not chosen:
        return [], []
    theirs = _in_the_way(campaign, chosen)
    ended = list(theirs.order_by("pk").select_for_update(of=("self",), skip_locked=True, no_key=True))
    for row in ended:
        if row.state == UpdateState.VERIFYING:
            moving.end(row, UpdateState.CANCELED, LEFT_BEHIND, f"{campaign} leads it back.", now)
        else:
            moving.end(row, UpdateState.CANCELED, "superseded", f"{campaign} took its place.", now)
    moving.write(ended)
    blocked = set(theirs.values_list("device_id", flat=True)) if len(ended) < len(chosen) else set()
    return [row for row in chosen if row.device_id not in blocked], ended


def _hand_out(campaign: Campaign, rows: list[Row], now: datetime) -> list[Row]:
    """Write the offers. Where another campaign was faster with a device, this one waits for it."""
    if not rows:
        return []
    known = {} if campaign.rollback_of_id else _releases(rows)
    for row in rows:
        row.offered_at = row.changed_at = now
        row.from_version, row.offered_boot_id = row.version_now, row.boot_now
        row.waiting = row.detail = ""
        if not campaign.rollback_of_id:
            row.fallback_id = _fallback(row, known)
    if campaign.rollback_of_id:
        permits.sign_all(rows)
    if _write_offers(rows):
        return rows
    return [row for row in rows if _write_offers([row]) or _give_way(row)]


def _fallback(row: Row, known: Mapping[tuple[int, str], int]) -> int | None:
    """The release to go back to: the last verified one, or what it runs now. None that failed on this device."""
    if row.verified_release and not row.verified_blocked:
        return int(row.verified_release)
    return None if row.running_blocked else known.get((row.device.device_type_id, row.version_now))


def _write_offers(rows: Sequence[Row]) -> bool:
    """False: the database refused, as a device has an active update already."""
    try:
        with transaction.atomic():
            moving.write(rows, _OFFERED)
    except IntegrityError as error:
        if "update_one_active" not in str(error):
            raise
        return False
    return True


def _give_way(row: Row) -> bool:
    rival = Update.objects.active().filter(device=row.device_id).values_list("campaign__name", flat=True).first()
    Update.objects.filter(pk=row.pk).update(waiting=Waiting.BUSY, detail=(rival or "")[:200])
    return False


def _releases(rows: Iterable[Row]) -> dict[tuple[int, str], int]:
    """The releases that these devices run, where we have them: by device type and version."""
    versions = {row.version_now for row in rows}
    types = {row.device.device_type_id for row in rows}
    found = Compatibility.objects.filter(version__in=versions, device_type__in=types)
    return {
        (kind, version): release for kind, version, release in found.values_list("device_type", "version", "release")
    }


def _say_again(campaign: Campaign, now: datetime) -> list[Update]:
    """Offers that were never heard, as far as we know: the process died before it told them, or the broker did.

    After a pause or a stop all open ones are said again: nothing was said of them to devices that connected meanwhile.
    """
    online = Q(device__presence__online=True, device__presence__session__gte=0)
    open_ones = Update.objects.revocable().filter(online, campaign=campaign).order_by()
    # Found first and then locked: asked for in one order with a limit, the database walks all that is planned.
    unheard = list(open_ones.filter(seq=-1, changed_at__lt=now - _UNHEARD).values_list("pk", flat=True))
    rows = Update.objects.revocable().filter(pk__in=sorted(unheard)[:_SAID_AGAIN], seq=-1).order_by("pk")
    found = list(rows.select_for_update(of=("self",), skip_locked=True, no_key=True)) if unheard else []
    for row in found:
        row.changed_at = now
    moving.write(found, ("changed_at",))
    if _was_halted(campaign):
        found += open_ones
    return found


def _was_halted(campaign: Campaign) -> bool:
    """Did a pause or a stop end since the last look?"""
    looked = campaign.advanced_at
    if looked is None:
        return False
    if campaign.resumed_at is not None and campaign.resumed_at > looked:
        return True
    return Stop.objects.filter(ended_at__gt=looked).exists()
