"""Rollbacks: a child campaign that leads each device back to what it last ran healthily.

The parent's row decides when it is over; the child's advance admits and offers. Neither ever locks the other's row,
but where a rollback begins.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from devices.models import Device
from firmware import holds, moving, offers, ordering
from firmware.models import Campaign, Compatibility, Hold, Release, Stage, Update
from firmware.states import ACTIVE, CampaignState, StageState, UpdateState, Waiting

ADMITTED_AT_ONCE = 1000
"""A bound for one step; the next one goes on."""
LONGEST = timedelta(days=30)
"""Devices that come back later than this are not led back by themselves."""
_COPIED = (
    "max_concurrent", "offers_per_minute", "use_windows", "reboot_jitter", "download_attempts", "offline_grace",
    "verify_time", "install_timeout", "stage_timeout",
)  # fmt: skip
PLANNED_AGAIN: dict[str, Any] = {
    "state": UpdateState.QUEUED, "waiting": Waiting.STAGE, "attempt": F("attempt") + 1, "seq": -1, "progress": None,
    "reason_code": "", "detail": "", "offered_boot_id": "", "installing_boot_id": "", "boot_id": "", "offered_at": None,
    "installing_at": None, "rebooting_at": None, "checked_at": None, "ended_at": None, "needs_attention": False,
}  # fmt: skip
"""An update that ended begins anew: reports of the attempt before no longer count."""
_BACK = Q(state=UpdateState.SUCCEEDED) | Q(
    state=UpdateState.SKIPPED, reason_code__in=["already_installed", offers.ELSEWHERE]
)
_OPEN = Q(state__in=ACTIVE)
_GONE = Q(state=UpdateState.REMOVED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollback ended."""

    state: CampaignState
    text: str
    figures: dict[str, Any] = field(default_factory=dict)


def begin(parent: Campaign, now: datetime) -> Campaign:
    """Open (or find) the child of a campaign that is ROLLING_BACK. Inside the caller's transaction. Safe to repeat."""
    found = Campaign.objects.filter(rollback_of=parent).first()
    if found is not None:
        return found
    child = Campaign.objects.create(
        name=f"Rollback of {parent.name}"[:200],
        rollback_of=parent,
        author=parent.author,
        approved_by=parent.approved_by,
        approved_at=now,
        approved_digest=parent.approved_digest,
        state=CampaignState.RUNNING,
        state_reason=parent.state_reason,
        started_at=now,
        rolls_back=False,
        **{name: getattr(parent, name) for name in _COPIED},
    )
    Stage.objects.create(
        campaign=child,
        number=1,
        percent=100,
        soak=timedelta(),
        state=StageState.ROLLING,
        upto=ordering.PLACES - 1,
        started_at=now,
    )
    return child


def again(parent: Campaign, now: datetime) -> Campaign:
    """A rollback that ended incomplete, once more: what failed is planned again. Inside the caller's transaction."""
    child = begin(parent, now)
    child = Campaign.objects.select_for_update(of=("self",)).get(pk=child.pk)
    if child.state == CampaignState.COMPLETED:
        Campaign.objects.filter(pk=child.pk).update(state=CampaignState.RUNNING, ended_at=None)
        Stage.objects.filter(campaign=child).update(state=StageState.ROLLING, started_at=now, ended_at=None)
    Campaign.objects.filter(pk=child.pk).update(started_at=now, state_reason=parent.state_reason)
    failed = Update.objects.filter(campaign=child).exclude(_BACK | _OPEN | _GONE)
    # In the order in which reports lock them, too.
    pks = list(failed.order_by("pk").select_for_update(of=("self",), no_key=True).values_list("pk", flat=True))
    _find_releases(parent, failed.filter(pk__in=pks, release__isnull=True).select_related("device"))
    failed.filter(pk__in=pks, release__isnull=False).update(**PLANNED_AGAIN, changed_at=now)
    child.refresh_from_db()
    return child


def admit(child: Campaign, now: datetime) -> int:
    """Take in the parent's devices that run the bad version now and are not in the child yet. Returns how many.

    A device without a release to go back to fails at once and needs somebody; the others get their permits with the
    offer. Inside the transaction that holds the child's row.
    """
    parent = child.rollback_of
    assert parent is not None  # noqa: S101 (for mypy: a child has one)
    astray = list(_astray(parent).select_related("device", "fallback").order_by("place")[:ADMITTED_AT_ONCE])
    known = _releases((update.device, update.from_version) for update in astray)
    held = _held(update.device for update in astray)
    rows = []
    for update in astray:
        ran = known.get((update.device.device_type_id, update.from_version))
        target = _target(parent, update.device, (update.fallback, ran), held)
        row = Update(
            campaign=child,
            device=update.device,
            serial=update.serial,
            release=target,
            stage=1,
            place=ordering.place(child.pk, update.device_id),
            from_version=_bad(parent),
            changed_at=now,
        )
        if target is None:
            row.state, row.waiting, row.reason_code = UpdateState.FAILED, Waiting.NO, "no_release"
            row.detail = "What it ran before is not here as a release."
            row.offered_at = row.ended_at = now
            row.needs_attention = True
        rows.append(row)
    Update.objects.bulk_create(rows, batch_size=1000)
    if rows:
        Campaign.objects.filter(pk=child.pk).update(targets=F("targets") + len(rows))
        Stage.objects.filter(campaign=child).update(size=F("size") + len(rows))
    return len(rows)


def outcome(parent: Campaign, child: Campaign, now: datetime) -> Outcome | None:
    """Is the rollback over, and how did it end? None while it is not.

    Over is it when nothing of the parent is being installed any more, nobody runs the bad version unnoticed, nobody
    fell silent while it installed, and every device of the child has ended; or, incomplete, when that takes longer
    than the stage timeout (an installation: than that and the install timeout).
    """
    mine = Update.objects.filter(campaign=child)
    # In the order in which a device passes through: what moves on between two counts is counted twice, never missed.
    figures = {
        "installing": Update.objects.active().filter(campaign=parent).count(),
        "astray": _astray(parent).count(),
        "silent": _silent(parent).count(),
        "open": mine.filter(_OPEN).count(),
        "failed": mine.exclude(_BACK | _OPEN | _GONE).count(),
        "back": mine.filter(_BACK).count(),
    }
    age = now - (child.started_at or now)
    unknown = figures["astray"] + figures["silent"] + figures["open"]
    late, hung = age >= parent.stage_timeout, age >= parent.stage_timeout + parent.install_timeout
    if (figures["installing"] and not hung) or (unknown and not late):
        return None
    missing = unknown + figures["failed"] + figures["installing"]
    if not missing:
        return Outcome(CampaignState.ROLLED_BACK, _well(parent, figures["back"]), figures)
    if not _give_up(parent, now) or not _need_somebody(mine.exclude(_BACK | _OPEN | _GONE), _silent(parent)):
        return None
    text = f"{missing} of {missing + figures['back']} devices do not run what they ran before: they need somebody."
    return Outcome(CampaignState.ROLLBACK_INCOMPLETE, text, figures)


def _well(parent: Campaign, back: int) -> str:
    if back:
        return "1 device runs what it ran before." if back == 1 else f"{back} devices run what they ran before."
    alone = Update.objects.filter(campaign=parent, state=UpdateState.ROLLED_BACK).count()
    went = f": {alone} went back by {'themselves' if alone > 1 else 'itself'}" if alone else ""
    return f"Nobody had to be led back{went}."


def _give_up(parent: Campaign, now: datetime) -> bool:
    """End what is still installing, though it is said to be at it. False: some are being reported on at this moment."""
    hung = Update.objects.active().filter(campaign=parent)
    rows = list(hung.order_by("pk").select_for_update(of=("self",), skip_locked=True, no_key=True))
    for row in rows:
        moving.end(row, UpdateState.TIMED_OUT, "timeout", "It was still installing when the rollback ended.", now)
        row.needs_attention = True
    moving.write(rows, (*moving.MOVED, "needs_attention"))
    holds.after_failures([row for row in rows if row.installing_at is not None], now)
    return not hung.exists()


def _need_somebody(*groups: QuerySet[Update]) -> bool:
    """Mark these updates. False: some are being reported on at this moment."""
    done = True
    for rows in (group.filter(needs_attention=False) for group in groups):
        free = rows.order_by("pk").select_for_update(of=("self",), skip_locked=True, no_key=True)
        Update.objects.filter(pk__in=list(free.values_list("pk", flat=True))).update(needs_attention=True)
        done = done and not rows.exists()
    return done


def look_again(child: Campaign) -> None:
    """After the parent ended: who was silent and is known by now to run something else needs nobody any more."""
    parent = child.rollback_of
    if parent is None or parent.state == CampaignState.ROLLING_BACK:
        return
    marked = Update.objects.filter(campaign=parent, needs_attention=True)
    known = marked.exclude(pk__in=_silent(parent)).exclude(device__presence__firmware_version=_bad(parent))
    free = known.order_by("pk").select_for_update(of=("self",), skip_locked=True, no_key=True)
    Update.objects.filter(pk__in=list(free.values_list("pk", flat=True))).update(needs_attention=False)


def is_incomplete(child: Campaign) -> bool:
    """Does anybody of it still need somebody?"""
    return Update.objects.filter(campaign__in=[child.pk, child.rollback_of_id], needs_attention=True).exists()


def is_over(child: Campaign, now: datetime) -> bool:
    """Has a child nothing more to do? Not before its parent has ended; then it still waits for devices to come back.

    Also for those that were last heard while they installed: they may come back in the bad version.
    """
    parent = child.rollback_of
    if parent is None or parent.state == CampaignState.ROLLING_BACK:
        return False
    open_ones = Update.objects.filter(_OPEN, campaign=child)
    if not open_ones.exists() and not _silent(parent).exists():
        return True
    return now - (child.started_at or now) >= LONGEST and not open_ones.exclude(offered_at__isnull=True).exists()


def _astray(parent: Campaign) -> QuerySet[Update]:
    """The parent's updates whose device runs its release now and is not in the child."""
    was_offered = Q(offered_at__isnull=False) | Q(attempt__gt=1)  # who is planned again had it before
    return _not_led_back(parent).filter(was_offered, device__presence__firmware_version=_bad(parent))


def _silent(parent: Campaign) -> QuerySet[Update]:
    """The parent's updates whose device was last heard while it installed: nobody knows what it runs.

    It is offline, and has told of no boot since. One that is online asks before it boots, and is told that it must not.
    """
    same_boot = Q(installing_boot_id=F("device__presence__boot_id")) | Q(
        installing_boot_id="", offered_boot_id=F("device__presence__boot_id")
    )
    fell = Q(same_boot, state=UpdateState.TIMED_OUT, installing_at__isnull=False)
    # Planned again since: only the hold on the version tells that it had been installing.
    again = Q(Exists(Hold.objects.filter(update=OuterRef("pk"), kind=Hold.Kind.VERSION))) & Q(
        attempt__gt=1, offered_at__isnull=True
    )
    return _not_led_back(parent).filter(fell | again, device__presence__online=False)


def _not_led_back(parent: Campaign) -> QuerySet[Update]:
    child = Update.objects.filter(campaign__rollback_of=parent, device=OuterRef("device"))
    in_service = [Device.State.ACTIVE, Device.State.QUARANTINED]
    return Update.objects.filter(~Exists(child), campaign=parent, device__state__in=in_service)


def _bad(parent: Campaign) -> str:
    return parent.release.version if parent.release else ""


def _find_releases(parent: Campaign, lost: Iterable[Update]) -> None:
    """What they ran before may be here by now."""
    rows = list(lost)
    before = Update.objects.filter(campaign=parent, device__in=[row.device_id for row in rows])
    ran = {row.device_id: row.from_version for row in before.only("device", "from_version")}
    known = _releases((row.device, ran.get(row.device_id, "")) for row in rows)
    held = _held(row.device for row in rows)
    for row in rows:
        found = known.get((row.device.device_type_id, ran.get(row.device_id, "")))
        row.release = _target(parent, row.device, (found,), held)
    Update.objects.bulk_update([row for row in rows if row.release is not None], ["release"], batch_size=1000)


def _releases(ran: Iterable[tuple[Device, str]]) -> dict[tuple[int, str], Release]:
    """The releases of these versions, by device type and version."""
    asked = {(device.device_type_id, version) for device, version in ran}
    found = Compatibility.objects.filter(
        device_type__in={kind for kind, _ in asked}, version__in={version for _, version in asked}
    )
    return {(row.device_type_id, row.version): row.release for row in found.select_related("release")}


def _held(devices: Iterable[Device]) -> set[tuple[int, str]]:
    """Versions that failed on these devices, each with its device."""
    rows = Hold.objects.filter(device__in=list(devices), kind=Hold.Kind.VERSION, cleared_at__isnull=True)
    return set(rows.values_list("device_id", "version"))


def _target(
    parent: Campaign, device: Device, choices: Iterable[Release | None], held: set[tuple[int, str]]
) -> Release | None:
    """What a device goes back to: the first of these that is not the bad one and did not fail on it before."""
    for release in choices:
        if release and release.version != _bad(parent) and (device.pk, release.version) not in held:
            return release
    return None
