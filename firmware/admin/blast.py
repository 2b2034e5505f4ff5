"""What an act will do to a campaign, in numbers: said before it is done."""

from django.utils import timezone

from firmware import planning
from firmware.admin.campaign_standing import count
from firmware.admin.plain_fields import say_duration
from firmware.models import Campaign, Stop
from firmware.states import EDITABLE


def people(number: int) -> str:
    """`1 device`, `12,000 devices`."""
    return f"{number:,} device{'' if number == 1 else 's'}"


def of_approve(campaign: Campaign) -> list[str]:
    """Somebody vouches for it."""
    return [
        *of_reach(campaign),
        "You vouch for the plan and the file with the digests below. An edit of either voids your approval.",
        "Whether the signing keys are valid is judged now, and recorded; later only a revocation counts.",
    ]


def of_reject(_: Campaign) -> list[str]:
    """It goes back to its author."""
    return ["Its author edits it and submits it again."]


def of_start(campaign: Campaign) -> list[str]:
    """It begins."""
    return [*of_reach(campaign), *_stopped(), "It can be paused, aborted and rolled back while it runs."]


def of_reach(campaign: Campaign) -> list[str]:
    """Whom it will reach, by a dry run."""
    planned = planning.dry_run(campaign, timezone.now())
    stages = ", ".join(f"{bound.size:,}" for bound in planned.stages)
    parts = [
        (True, f"{people(planned.targets)} will get {campaign.release}; {planned.offline:,} of them are offline now."),
        (planned.stages, f"In stages of together {stages}; the first reaches at most {_first(planned)}."),
        (planned.skipped, f"Left out: {sum(each.count for each in planned.skipped):,} that match the filters."),
        (True, f"Estimated duration with everybody online: {say_duration(planned.duration)}."),
        *((True, f"Problem: {problem}") for problem in planned.problems),
    ]
    return [text for told, text in parts if told]


def _first(planned: planning.Planned) -> str:
    return people(planned.stages[0].size) if planned.stages else "nobody"


def _stopped() -> list[str]:
    stop = Stop.objects.filter(ended_at__isnull=True).first()
    return [f"All firmware is stopped now ({stop.reason}): nothing is offered until that is lifted."] if stop else []


def of_pause(campaign: Campaign) -> list[str]:
    """Nothing more is offered."""
    now = count(campaign)
    return [
        f"No more offers: {people(now.planned)} wait until somebody resumes it.",
        f"{people(now.active)} that have their offer go on, {now.installing:,} of them are installing.",
    ]


def of_resume(campaign: Campaign) -> list[str]:
    """It goes on."""
    now = count(campaign)
    parts = [
        f"Offers go on: {people(now.planned)} are still to come.",
        f"Until now {now.whole.succeeded:,} succeeded and {now.whole.failed:,} failed.",
        "The soak goes on where it stopped. Burn and refusals are counted anew; failures are not forgotten.",
    ]
    return [*parts, *_stopped()]


def of_abort(campaign: Campaign) -> list[str]:
    """It ends now."""
    if campaign.state in EDITABLE:
        return ["It has not started: nobody was offered anything. It cannot be taken up again."]
    now = count(campaign)
    return [
        f"Taken back: {people(now.planned)} not offered yet and {now.revocable:,} that have not begun to install.",
        f"Go on, as an installation is never interrupted: {people(now.installing)}.",
        f"Keep the new version: {people(now.whole.succeeded)}. To lead them back, roll back instead.",
    ]


def of_roll_back(campaign: Campaign) -> list[str]:
    """Devices are led back."""
    now, version = count(campaign), campaign.release.version if campaign.release else ""
    offered = campaign.updates.filter(offered_at__isnull=False)
    running = offered.filter(device__presence__firmware_version=version).count()
    return [
        f"Running {version} by this campaign now: {people(running)}. Each is led back to the version it last ran"
        " healthily, and reboots.",
        f"Taken back: {people(now.planned)} not offered yet and {now.revocable:,} that have not begun to install.",
        f"Installing now, led back when they have booted: {people(now.installing)}.",
        "At the pace of this campaign, and with the portal's signed permit for each device. It cannot be undone.",
    ]


def of_retry(campaign: Campaign) -> list[str]:
    """Those that failed try again."""
    failed = campaign.updates.failed().count()
    rejected = campaign.updates.filter(state="rejected").count()
    return [
        f"{people(failed)} that failed and {rejected:,} that refused get a new attempt.",
        "Those on hold (a version that rolled back on them, or too many failures) stay out until the hold is cleared.",
    ]
