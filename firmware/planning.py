"""Plans: whom a campaign is for, who is skipped and why, its stages in real numbers, and how long it will take."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

from django.db import connection
from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Value, When

from devices.models import Device, Presence
from firmware import ordering, pacing, scope, trust
from firmware.models import Artifact, Campaign, Hold, Release, Ring, Stage, Update, Verified
from firmware.ordering import Bound
from firmware.states import CampaignState, StageState, UpdateState, Waiting
from firmware.versions import is_older

EXAMPLES = 5
"""Devices named of each reason to skip some."""
SLOW_BYTES_PER_SECOND = 250_000
"""What a device on a weak link downloads, for estimates."""
INSTALL_TIME = timedelta(minutes=2)
"""Between the end of a download and the reboot, for estimates."""
SKIPS = {
    "not_active": "Not in service: registered only, or quarantined.",
    "mqtt_missing": "Speaks HTTPS only: it never came online over MQTT.",
    "penalty_box": "In the penalty box: its updates failed again and again.",
    "already_installed": "Runs this version already.",
    "version_blocked": "This version is blocked for it.",
    "anti_rollback": "Runs a newer version.",
    "incompatible": "Runs a version older than the release may be installed over.",
}
"""Reasons not to offer it to a device, the first that is true counts; each with its text for people."""
PASSING = ("not_active", "mqtt_missing", "penalty_box", "version_blocked")
"""These may cease to be: a continuous campaign looks again."""
_FIELDS = (
    "continuous", "spread_sites", "max_concurrent", "offers_per_minute", "use_windows", "download_attempts",
    "rolls_back", "error_rate", "offline_rate", "reject_rate", "burn_rate", "success_target", "min_executed",
)  # fmt: skip
_DURATIONS = ("reboot_jitter", "offline_grace", "verify_time", "install_timeout", "stage_timeout")


@dataclass(frozen=True, slots=True)
class Skipped:
    """Devices that match and will not be offered it."""

    reason_code: str
    """already_installed, incompatible, anti_rollback, version_blocked, penalty_box, not_active, mqtt_missing"""
    text: str
    count: int
    examples: list[Device] = field(default_factory=list)
    """The first few."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A dry run."""

    matching: int
    targets: int
    offline: int
    """Of the targets; they are offered when they come back."""
    busy: int
    """Of the targets; another campaign has them now."""
    stages: list[Bound]
    """With places as if the targets stood in a row: the real ones are known at the start."""
    skipped: list[Skipped]
    duration: timedelta
    """Estimated: pace, soaks and verify times, with everybody online."""
    each: timedelta
    """What the estimate takes for one device, from its offer to its success: a slow download, the installation, the
    whole jitter before the reboot, the verify time."""
    problems: list[str]
    """Why it cannot start at all: unsigned, archived, rings, no stages, … Empty: it can."""


# --- whom -----------------------------------------------------------------------------------------------------------


def matching(campaign: Campaign) -> QuerySet[Device]:
    """The devices its filters name, within the release's device types and tenants.

    A device must meet every kind of filter that is given, by any one of its values. Those whose life has ended match
    nothing.
    """
    if campaign.release is None:
        return Device.objects.none()
    found = _of(campaign.release)
    for name, allowed in (("tenant", campaign.tenants), ("site", campaign.sites)):
        if chosen := list(allowed.values_list("pk", flat=True)):
            found = found.filter(**{f"{name}__in": chosen})
    if groups := list(campaign.groups.values_list("pk", flat=True)):
        found = found.filter(pk__in=_members(groups))
    if campaign.ring is not None:
        found = found.filter(pk__in=_members(list(campaign.ring.groups.values_list("pk", flat=True))))
    if campaign.tags:
        found = found.filter(tags__overlap=campaign.tags)
    if campaign.versions:
        found = found.filter(presence__firmware_version__in=campaign.versions)
    return found


def _of(release: Release) -> QuerySet[Device]:
    found = Device.objects.exclude(state=Device.State.DECOMMISSIONED).filter(
        device_type__in=list(release.device_types.values_list("pk", flat=True))
    )
    tenants = list(release.tenants.values_list("pk", flat=True))
    return found.filter(tenant__in=tenants) if tenants else found


def _members(groups: Sequence[int]) -> QuerySet[Any, Any]:
    return Device.groups.through.objects.filter(group__in=groups).values_list("device", flat=True)


def _judged(campaign: Campaign, devices: QuerySet[Device]) -> QuerySet[Any, Any]:
    """Each with `why` it would be skipped; '' where it would not."""
    release = campaign.release
    assert release is not None  # noqa: S101 (for mypy: without a release nothing matches)
    # The versions that run are few: compared here, found there.
    runs = set(
        Presence.objects.filter(device__in=devices).values_list("firmware_version", flat=True).distinct().order_by()
    ) - {""}
    newer = [version for version in runs if is_older(release.version, version)]
    older = [version for version in runs if release.min_version and is_older(version, release.min_version)]
    holds = Hold.objects.filter(device=OuterRef("pk"), cleared_at__isnull=True)
    rules = {
        "not_active": ~Q(state=Device.State.ACTIVE),
        "mqtt_missing": Q(presence__session__lt=0, presence__last_seen_at__isnull=False),
        "penalty_box": Exists(holds.filter(kind=Hold.Kind.PENALTY)),
        "already_installed": Q(presence__firmware_version=release.version),
        "version_blocked": Exists(holds.filter(kind=Hold.Kind.VERSION, version=release.version)),
        "anti_rollback": Q(presence__firmware_version__in=newer),
        "incompatible": Q(presence__firmware_version__in=older),
    }
    whens = [When(rules[reason], then=Value(reason)) for reason in SKIPS]
    return devices.annotate(why=Case(*whens, default=Value("")))


# --- what would happen ----------------------------------------------------------------------------------------------


def dry_run(campaign: Campaign, now: datetime) -> Planned:
    """What would happen if it started now; changes nothing."""
    stages = list(campaign.stages.order_by("number"))
    judged: QuerySet[Any, Any] = _judged(campaign, matching(campaign)) if campaign.release else Device.objects.none()
    elsewhere = Update.objects.active().filter(device=OuterRef("pk")).exclude(campaign=campaign)
    counted = {
        row["why"]: row
        for row in judged.values("why")
        .annotate(
            devices=Count("pk"),
            offline=Count("pk", filter=~Q(presence__online=True, presence__session__gte=0)),
            busy=Count("pk", filter=Exists(elsewhere)),
        )
        .order_by()
    } if campaign.release else {}  # fmt: skip
    mine = counted.get("", {"devices": 0, "offline": 0, "busy": 0})
    skipped = [
        Skipped(reason, text, counted[reason]["devices"], list(judged.filter(why=reason).order_by("pk")[:EXAMPLES]))
        for reason, text in SKIPS.items()
        if reason in counted
    ]
    bounds = ordering.bounds([stage.percent for stage in stages], range(mine["devices"]))
    soaks = {stage.percent: stage.soak for stage in stages}
    return Planned(
        matching=sum(row["devices"] for row in counted.values()),
        targets=mine["devices"],
        offline=mine["offline"],
        busy=mine["busy"],
        stages=bounds,
        skipped=skipped,
        duration=_duration(campaign, [(bound.size, soaks[bound.percent]) for bound in bounds]),
        each=sum(_one(campaign), timedelta()),
        problems=problems(campaign, now) + unpassed_rings(campaign),
    )


def _duration(campaign: Campaign, stages: Iterable[tuple[int, timedelta]]) -> timedelta:
    """Wave after wave: as many downloads at once as the pace allows, which grows by what has succeeded."""
    download, rest = _one(campaign)
    done, total = 0, timedelta()
    for size, soak in stages:
        while done < size:
            allowed = min(campaign.max_concurrent, pacing.FIRST + pacing.GROWTH * done)
            wave = min(allowed, size - done)
            total += max(download, timedelta(minutes=wave / campaign.offers_per_minute))
            total += rest if allowed < campaign.max_concurrent else timedelta()
            done += wave
        total += (rest if size else timedelta()) + soak
    return total


def _one(campaign: Campaign) -> tuple[timedelta, timedelta]:
    """How long one device takes to download, and from then on to its success."""
    artifact = Artifact.objects.filter(release=campaign.release_id).first()
    download = timedelta(seconds=max(30, (artifact.size if artifact else 0) // SLOW_BYTES_PER_SECOND))
    return download, INSTALL_TIME + campaign.reboot_jitter + campaign.verify_time


# --- whether it may -------------------------------------------------------------------------------------------------


def problems(campaign: Campaign, now: datetime, *, approved: bool = False) -> list[str]:
    """Why it cannot be rolled out, whatever the rings say. `approved`: keys' validity was judged then."""
    release = campaign.release
    if release is None:
        return ["It has no release."]
    found = _plan_faults(list(campaign.stages.order_by("number").values_list("percent", flat=True)))
    found += release_faults(release, now, approved=approved)
    if campaign.ends_at is not None and campaign.ends_at <= now:
        found.append("Its end lies in the past.")
    return found


def release_faults(release: Release, now: datetime, *, approved: bool = False) -> list[str]:
    """Why nobody may be offered this release. `approved`: keys' validity was judged then."""
    found = []
    if release.state == Release.State.ARCHIVED:
        found.append(f"Release {release} is archived.")
    if not release.device_types.exists():
        found.append(f"Release {release} is for no device type.")
    if not Artifact.objects.filter(release=release).exists():
        found.append(f"Release {release} has no file.")
    else:
        found += trust.check_release(release, now, approved=approved)
    return found


def _plan_faults(percents: Sequence[int]) -> list[str]:
    if not percents:
        return ["It has no stages."]
    found = []
    if any(after <= before for before, after in pairwise(percents)):
        found.append("Each stage must have more percent than the one before.")
    if percents[-1] != 100:
        found.append("The last stage must be 100 %.")
    return found


def unpassed_rings(campaign: Campaign) -> list[str]:
    """Rings this release has to complete first: those below the campaign's that have devices it is for.

    A campaign that completed without anybody has proved nothing: in each ring a device must have verified the release.
    """
    release = campaign.release
    if release is None:
        return []
    lower = Ring.objects.filter(order__lt=campaign.ring.order) if campaign.ring else Ring.objects.all()
    passed = Campaign.objects.filter(release=release, state=CampaignState.COMPLETED, ring__isnull=False)
    proved = Update.objects.filter(campaign__in=passed, state=UpdateState.SUCCEEDED).values("campaign__ring")
    found = []
    for ring in lower.exclude(pk__in=proved).order_by("order"):
        members = _of(release).filter(pk__in=_members(list(ring.groups.values_list("pk", flat=True))))
        if not members.exists():
            continue
        if not passed.filter(ring=ring).exists():
            found.append(f"The release has not completed ring {ring} yet.")
        elif not Verified.objects.filter(release=release, device__in=members).exists():
            found.append(f"In ring {ring} no device has verified the release yet.")
    return found


def digest(campaign: Campaign) -> str:
    """SHA-256 (hex) of everything an approval approves: plan, filters, stages, and the artifact's digest."""
    release = campaign.release
    artifact = Artifact.objects.filter(release=release).first()
    told = {
        "release": release and [
            release.version, sorted(release.device_types.values_list("slug", flat=True)),
            sorted(release.tenants.values_list("slug", flat=True)), release.min_version,
            release.min_battery_percent, release.needs_mains, release.min_free_bytes,
        ],
        "artifact": artifact and [artifact.sha256, artifact.file_name, artifact.size],
        **scope.whom(campaign),
        "stages": [
            [stage.number, stage.percent, stage.soak.total_seconds()] for stage in campaign.stages.order_by("number")
        ],
        "ends_at": campaign.ends_at and campaign.ends_at.isoformat(),
        "fields": [getattr(campaign, name) for name in _FIELDS],
        "durations": [getattr(campaign, name).total_seconds() for name in _DURATIONS],
    }  # fmt: skip
    return scope.digest(told)


# --- the rows -------------------------------------------------------------------------------------------------------

_Member = tuple[int, str, int | None, str]
"""Device, its hardware id, its site, and why it is skipped."""
_COLUMNS = (
    "update_id", "campaign_id", "device_id", "serial", "release_id", "stage", "place", "state", "waiting",
    "reason_code", "detail", "attempt", "seq", "from_version", "offered_boot_id", "installing_boot_id", "boot_id",
    "permit", "permit_key", "ended_at", "changed_at", "needs_attention",
)  # fmt: skip
_EMPTY = (1, -1, "", "", "", "", "", "")
"""attempt, seq, and what is known of an update only once it is offered."""


def materialise(campaign: Campaign, now: datetime) -> None:
    """Write the stages' sizes and a row for each device (SKIPPED ones too). Inside `campaigns.start`'s transaction."""
    members = _members_of(campaign, matching(campaign))
    places = {pk: ordering.place(campaign.pk, pk) for pk, _, _, _ in members}
    targets = [(pk, places[pk], site) for pk, _, site, why in members if not why]
    if campaign.spread_sites:
        places |= ordering.spread(targets)
    uptos = _write_stages(campaign, [places[pk] for pk, _, _ in targets])
    _write(campaign, members, places, uptos, now)
    campaign.targets = len(targets)
    Campaign.objects.filter(pk=campaign.pk).update(targets=len(targets))


def admit(campaign: Campaign, now: datetime) -> list[Update]:
    """A continuous campaign takes in devices that match since; each at the place its hash gives it.

    Those it skipped for what has passed since (a hold that was cleared, a quarantine) are planned again. Returns who
    came in. Inside the transaction that holds the campaign's row.
    """
    mine = Update.objects.filter(campaign=campaign)
    found = matching(campaign)
    members = _members_of(campaign, found.filter(~Exists(mine.filter(device=OuterRef("pk")))))
    if members:
        places = {pk: ordering.place(campaign.pk, pk) for pk, _, _, _ in members}
        uptos = list(campaign.stages.order_by("number").values_list("upto", flat=True))
        _write(campaign, members, places, uptos, now)
    skipped = mine.filter(state=UpdateState.SKIPPED, offered_at__isnull=True, reason_code__in=PASSING)
    again = _judged(campaign, found.filter(pk__in=list(skipped.values_list("device", flat=True)))).filter(why="")
    back = list(again.values_list("pk", flat=True))
    if back:
        skipped.filter(device__in=back).update(
            state=UpdateState.QUEUED, waiting=Waiting.STAGE, reason_code="", detail="", ended_at=None, changed_at=now
        )
    came = [pk for pk, _, _, why in members if not why] + back
    return list(mine.filter(device__in=came)) if came else []


def _members_of(campaign: Campaign, devices: QuerySet[Device]) -> list[_Member]:
    rows = _judged(campaign, devices).order_by().values_list("pk", "hardware_id", "site", "why")
    return list(rows.iterator(chunk_size=10_000))


def _write_stages(campaign: Campaign, places: Sequence[int]) -> list[int]:
    """Give the stages their sizes and ends; those of equal size become one. Returns where they end."""
    stages = list(campaign.stages.order_by("number"))
    bounds = {bound.percent: bound for bound in ordering.bounds([stage.percent for stage in stages], places)}
    campaign.stages.filter(state=StageState.PENDING).exclude(percent__in=bounds).delete()
    for number, bound in enumerate(bounds.values(), 1):
        Stage.objects.filter(campaign=campaign, percent=bound.percent).update(
            number=number, size=bound.size, upto=bound.upto
        )
    return [bound.upto for bound in bounds.values()]


def _write(
    campaign: Campaign, members: Iterable[_Member], places: dict[int, int], uptos: Sequence[int], now: datetime
) -> None:
    with connection.cursor() as cursor:
        # Django translates the errors of its own methods only; copy is psycopg's.
        statement = f"COPY firmware_update ({', '.join(_COLUMNS)}) FROM STDIN"
        with connection.wrap_database_errors, cursor.copy(statement) as copy:
            for row in _rows(campaign, members, places, uptos, now):
                copy.write_row(row)


def _rows(
    campaign: Campaign, members: Iterable[_Member], places: dict[int, int], uptos: Sequence[int], now: datetime
) -> Iterator[tuple[object, ...]]:
    """In the order of the campaign, so that neighbours in a stage are neighbours on the disk."""
    for pk, serial, _, why in sorted(members, key=lambda member: places[member[0]]):
        place = places[pk]
        head = (uuid4(), campaign.pk, pk, serial[:100], campaign.release_id, ordering.stage_of(place, uptos), place)
        if why:
            yield *head, UpdateState.SKIPPED.value, "", why, SKIPS[why], *_EMPTY, now, now, False
        else:
            yield *head, UpdateState.QUEUED.value, Waiting.STAGE.value, "", "", *_EMPTY, None, now, False
