"""What people do with campaigns. Every act is checked here, leaves an event and a verdict, and changes state once."""

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import DurationField, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Greatest

from devices import evidence
from firmware import acting, advancing, live, nudges, offers, planning, rollbacks, rollout, scope, stopping, trust
from firmware.errors import FirmwareError
from firmware.models import Campaign, Hold, Stage, Stop, Update, Verdict
from firmware.rollout import Action, Gate
from firmware.states import EDITABLE, CampaignState, PauseReason, StageState, UpdateState

# Permissions (django.contrib.auth) are the doors' business; these check state and people. All raise `FirmwareError`
# with a code and a text for people, and all take the acting user, a reason where one is asked for, and `now`.

CONTINUOUS_FOR = timedelta(days=30)
"""A continuous campaign without an end of its own ends so long after its start."""
_UNAPPROVED: dict[str, Any] = {"approved_by": None, "approved_at": None, "approved_digest": ""}
_RETRIED = (UpdateState.FAILED, UpdateState.TIMED_OUT, UpdateState.REJECTED, UpdateState.ROLLED_BACK)
_log = structlog.get_logger(__name__)


# --- before it runs -------------------------------------------------------------------------------------------------


def submit(campaign: Campaign, user: Any, now: datetime, reason: str = "") -> None:
    """DRAFT → PENDING_APPROVAL. Refused: without stages, without a verified signature, without targets' device types.

    Raises `FirmwareError`: wrong_state, not_ready (with what is missing).
    """
    with transaction.atomic():
        row = acting.lock(campaign)
        acting.check_ready(planning.problems(row, now))
        acting.act(campaign, row, "submit", CampaignState.PENDING_APPROVAL, user, reason, now, state_reason="")


def approve(campaign: Campaign, user: Any, now: datetime, reason: str = "") -> None:
    """PENDING_APPROVAL → SCHEDULED. Binds plan and artifact; records who vouches for it. Not by who wrote in the plan.

    Reads the whole stored file (about 2 s a gigabyte). Raises `FirmwareError`: wrong_state, two_people (403),
    not_ready.
    """
    with transaction.atomic():
        row = acting.lock(campaign)
        acting.check_may(row, CampaignState.SCHEDULED)
        if user is None or _has_written(row, user):
            raise FirmwareError("Whoever wrote a campaign does not approve it: ask somebody else.", "two_people", 403)
        acting.check_ready(planning.problems(row, now))
        acting.check_ready(trust.verify_stored(row.release) if row.release else [])
        bound = planning.digest(row)
        approval = {"approved_by": user, "approved_at": now, "approved_digest": bound}
        figures = {"digest": bound, "keys": _vouchers(row, now)}
        acting.act(campaign, row, "approve", CampaignState.SCHEDULED, user, reason, now, figures, **approval)


def reject(campaign: Campaign, user: Any, reason: str, now: datetime) -> None:
    """PENDING_APPROVAL → DRAFT. Raises `FirmwareError`: wrong_state."""
    with transaction.atomic():
        row = acting.lock(campaign)
        if row.state != CampaignState.PENDING_APPROVAL:
            raise acting.wrong_state(row, "rejected")
        acting.act(campaign, row, "reject", CampaignState.DRAFT, user, reason, now, state_reason=reason[:500])


def edited(campaign: Campaign, user: Any, now: datetime) -> None:
    """Somebody edits the plan: it is theirs from now on, and what was submitted or approved is a draft again.

    Call it before every edit is saved, of a draft, too; the object keeps what is edited in it. An approval and a start
    that was planned are void. Raises `FirmwareError`: wrong_state.
    """
    with transaction.atomic():
        row = acting.lock(campaign)
        if row.state not in EDITABLE:
            raise acting.wrong_state(row, "edited")
        told = {"author": row.author_id}  # who wrote before: they approve their words as little as the new one
        fields: dict[str, Any] = {} if user is None or user.pk == row.author_id else {"author": user}
        if row.state != CampaignState.DRAFT:
            fields |= {"state_reason": "", "starts_at": None} | _UNAPPROVED
            acting.act(campaign, row, "edit", CampaignState.DRAFT, user, "", now, told, **fields)
        elif fields:
            acting.act(campaign, row, "edit", None, user, "", now, told, **fields)


def _has_written(row: Campaign, user: Any) -> bool:
    before = Verdict.objects.filter(campaign=row, action="edit", figures__author=user.pk)
    return bool(user.pk == row.author_id) or before.exists()


def _vouchers(row: Campaign, now: datetime) -> list[dict[str, Any]]:
    """Who vouched for the file, whether their word was good at this moment, and until when."""
    return [
        {
            "name": each.key.name,
            "fingerprint": each.key.fingerprint,
            "not_after": each.key.not_after.isoformat(),
            "valid": not each.against,
            "against": each.against,
        }
        for each in (trust.vouchers(row.release, now) if row.release else ())
    ]


def schedule(campaign: Campaign, user: Any, starts_at: datetime | None, now: datetime, reason: str = "") -> None:
    """Say when a SCHEDULED campaign starts by itself (None: by hand). Raises `FirmwareError`: wrong_state."""
    with transaction.atomic():
        row = acting.lock(campaign)
        if row.state != CampaignState.SCHEDULED:
            raise acting.wrong_state(row, "scheduled")
        told = {"starts_at": starts_at.isoformat() if starts_at else None}
        acting.act(campaign, row, "schedule", None, user, reason, now, told, starts_at=starts_at)


def start(campaign: Campaign, user: Any, now: datetime, reason: str = "") -> None:
    """SCHEDULED → RUNNING: verify signatures again, check the rings, write every device's row. `user` None: its time.

    Raises `FirmwareError`: wrong_state; plan_changed (it is a draft again, and must be approved anew); not_ready.
    """
    with transaction.atomic():
        row = acting.lock(campaign)
        acting.check_may(row, CampaignState.RUNNING)
        if row.state != CampaignState.SCHEDULED:
            raise acting.wrong_state(row, "started")
        _hold_release(row)
        changed = planning.digest(row) != row.approved_digest
        if changed:
            why = "The plan or the file changed after the approval: it must be approved again."
            acting.act(
                campaign, row, "void", CampaignState.DRAFT, user, why, now,
                state_reason=why, starts_at=None, **_UNAPPROVED,
            )  # fmt: skip
        else:
            acting.check_ready(planning.problems(row, now, approved=True) + planning.unpassed_rings(row))
            planning.materialise(row, now)
            fields: dict[str, Any] = {"started_at": now, "targets": row.targets, "state_reason": ""}
            if row.continuous and row.ends_at is None:
                fields["ends_at"] = now + CONTINUOUS_FOR
            figures = {
                "targets": row.targets,
                "stages": list(row.stages.values("number", "percent", "size")),
                "scope": scope.frozen(row),
            }
            acting.act(campaign, row, "start", CampaignState.RUNNING, user, reason, now, figures, **fields)
    if changed:
        raise FirmwareError(why, "plan_changed")


def start_due(now: datetime) -> int:
    """Start the scheduled campaigns whose time has come; one that cannot start goes back to DRAFT with the reason.

    Returns how many were started. One that fails in an unforeseen way keeps no other from its start. A time from before
    the approval is nobody's wish any more.
    """
    started = 0
    due = Campaign.objects.filter(state=CampaignState.SCHEDULED, starts_at__lte=now, starts_at__gte=F("approved_at"))
    for campaign in due.order_by("starts_at"):
        try:
            start(campaign, None, now)
            started += 1
        except FirmwareError as error:
            _give_back(campaign, str(error), now)
        except Exception:
            _log.exception("campaign_not_started", campaign=campaign.pk)
    return started


def _give_back(campaign: Campaign, why: str, now: datetime) -> None:
    with transaction.atomic():
        row = acting.lock(campaign)
        if row.state == CampaignState.SCHEDULED:  # somebody may have been faster
            acting.act(
                campaign, row, "void", CampaignState.DRAFT, None, why, now,
                state_reason=why[:500], starts_at=None, **_UNAPPROVED,
            )  # fmt: skip


# --- while it runs --------------------------------------------------------------------------------------------------


def pause(campaign: Campaign, user: Any, reason: str, now: datetime) -> None:
    """RUNNING → PAUSED(operator). Nothing more is offered; running installations go on.

    Raises `FirmwareError`: wrong_state.
    """
    with transaction.atomic():
        row = acting.lock(campaign)
        paused = {"pause_reason": PauseReason.OPERATOR, "paused_at": now, "state_reason": reason[:500]}
        acting.act(campaign, row, "pause", CampaignState.PAUSED, user, reason, now, **paused)


def resume(campaign: Campaign, user: Any, reason: str, now: datetime) -> None:
    """PAUSED → RUNNING. Soak clocks go on where they stopped; what tripped the gate is looked at afresh (see advance).

    Raises `FirmwareError`: wrong_state; not_ready where nobody vouches for the release any more; scope_changed;
    gate_still_tripped when it would be stopped again at once.
    """
    with transaction.atomic():
        row = acting.lock(campaign)
        if row.state != CampaignState.PAUSED:
            raise acting.wrong_state(row, "resumed")
        if row.release is not None:  # a rollback's releases are permitted by the portal
            _hold_release(row)
            acting.check_ready(planning.release_faults(row.release, now, approved=True))
        if scope.is_outgrown(row):
            raise FirmwareError(scope.OUTGROWN, "scope_changed")
        _check_gates(row, now)
        away = now - (row.paused_at or now)
        Stage.objects.filter(campaign=row, state=StageState.SOAKING).update(soak_from=F("soak_from") + away)
        told = {"paused_s": int(away.total_seconds())}
        resumed = {"pause_reason": "", "resumed_at": now, "alerted_at": None, "state_reason": ""}
        acting.act(campaign, row, "resume", CampaignState.RUNNING, user, reason, now, told, **resumed)
        advancing.is_well(row, advancing.STOPPED)


def _check_gates(row: Campaign, now: datetime) -> None:
    """The error rate does not forget: to go on over its threshold would only trip it again.

    The offline rate counts afresh: who resumes after an outage has a reason to.
    """
    seen = advancing.progress(row, now, state=CampaignState.RUNNING)
    decision = rollout.decide(advancing.plan(row), seen, now)
    if decision.gate is Gate.ERROR_RATE and decision.action in (Action.PAUSE, Action.ROLL_BACK):
        raise FirmwareError(
            f"It would be stopped again at once: {decision.text}. Roll back, retry what failed, or abort.",
            "gate_still_tripped",
        )


def abort(campaign: Campaign, user: Any, reason: str, now: datetime) -> None:
    """→ ABORTING (from a draft at once ABORTED): planned and not yet installing ones are taken back.

    A rollback is not aborted, only paused. Raises `FirmwareError`: wrong_state, is_rollback.
    """
    with transaction.atomic():
        row = acting.lock(campaign)
        if row.rollback_of_id is not None:
            raise FirmwareError("A rollback is not aborted: pause it.", "is_rollback")
        if row.state in EDITABLE:
            acting.act(
                campaign, row, "abort", CampaignState.ABORTED, user, reason, now,
                state_reason=reason[:500], ended_at=now,
            )  # fmt: skip
            return
        acting.check_may(row, CampaignState.ABORTING)
        told = offers.withdraw(row, now, "aborted")
        fields = {"pause_reason": "", "state_reason": reason[:500]}
        acting.act(
            campaign, row, "abort", CampaignState.ABORTING, user, reason, now, {"withdrawn": len(told)}, **fields
        )
        transaction.on_commit(lambda: nudges.tell(told), robust=True)


def roll_back(campaign: Campaign, user: Any, reason: str, now: datetime) -> None:
    """→ ROLLING_BACK: as abort, and every device that runs the release is led back to its own last verified version.

    One that ended incomplete is tried again. Raises `FirmwareError`: wrong_state (also where it never started),
    is_rollback.
    """
    with transaction.atomic():
        row = acting.lock(campaign)
        if row.rollback_of_id is not None:
            raise FirmwareError("A rollback is not rolled back: start a campaign with a newer release.", "is_rollback")
        acting.check_may(row, CampaignState.ROLLING_BACK)
        if row.started_at is None:
            raise acting.wrong_state(row, "rolled back")  # a plan that was given up: nobody was offered anything
        once_more = row.state == CampaignState.ROLLBACK_INCOMPLETE
        told = advancing.begin_rollback(row, reason, now)
        if once_more:
            rollbacks.again(row, now)
        acting.act(campaign, row, "roll_back", None, user, reason, now, pause_reason="", state_reason=reason[:500])
        campaign.state, campaign.ended_at = row.state, None
        transaction.on_commit(lambda: nudges.tell(told), robust=True)


def retry_failed(campaign: Campaign, user: Any, reason: str, now: datetime) -> int:
    """Queue the failed, timed out and rejected ones again with the next attempt; those on hold stay. How many.

    A campaign that had completed runs again, in its last stage. Raises `FirmwareError`: wrong_state, is_rollback,
    not_ready.
    """
    with transaction.atomic():
        row = acting.lock(campaign)
        if row.rollback_of_id is not None:
            raise FirmwareError("Roll the campaign it belongs to back once more.", "is_rollback")
        if row.state not in (CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.COMPLETED):
            raise acting.wrong_state(row, "retried")
        _hold_release(row)
        acting.check_ready(planning.problems(row, now, approved=True))
        count = _queue_again(row, now)
        state = CampaignState.RUNNING if count and row.state == CampaignState.COMPLETED else None
        fields: dict[str, Any] = {}
        if state is not None:
            last = row.stages.order_by("-number")[:1]
            Stage.objects.filter(pk__in=list(last.values_list("pk", flat=True))).update(
                state=StageState.ROLLING, started_at=now, soak_from=None, ended_at=None
            )
            fields = {"ended_at": None, "resumed_at": now, "alerted_at": None}
        acting.act(campaign, row, "retry_failed", state, user, reason, now, {"devices": count}, **fields)
    return count


def _queue_again(row: Campaign, now: datetime) -> int:
    held = Hold.objects.filter(cleared_at__isnull=True).filter(
        Q(kind=Hold.Kind.PENALTY) | Q(kind=Hold.Kind.VERSION, version=row.release.version if row.release else "")
    )
    failed = Update.objects.filter(campaign=row, state__in=_RETRIED).exclude(device__in=held.values("device"))
    pks = list(failed.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True))
    return Update.objects.filter(pk__in=pks).update(**rollbacks.PLANNED_AGAIN, changed_at=now)


def _hold_release(row: Campaign) -> None:
    """From here to the end of the transaction its release is not archived, and no key that signed it is revoked."""
    if row.release is not None:
        trust.hold(row.release)


# --- everything at once ---------------------------------------------------------------------------------------------


def stop_all(user: Any, reason: str, now: datetime) -> Stop:
    """The global stop: from now on nothing is offered. The open one where it is on already."""
    try:
        with transaction.atomic():
            stopping.close()
            stop = Stop.objects.create(started_at=now, started_by=user, reason=reason[:200])
            evidence.record("campaign.stop_all", user=user, reason=reason, at=now)
            _tell_everybody()
    except IntegrityError:
        found = Stop.objects.filter(open=True).first()
        return found if found is not None else stop_all(user, reason, now)  # lifted in between
    return stop


def lift_stop(user: Any, reason: str, now: datetime) -> bool:
    """End the global stop. False when there was none. Soak clocks go on where it stopped them."""
    with transaction.atomic():
        stop = Stop.objects.select_for_update().filter(open=True).first()
        if stop is None:
            return False
        Stop.objects.filter(pk=stop.pk, ended_at__isnull=True).update(ended_at=now, ended_by=user)
        watched = Stage.objects.filter(state=StageState.SOAKING, campaign__state=CampaignState.RUNNING)
        halted = ExpressionWrapper(
            Value(now) - Greatest("soak_from", Value(stop.started_at)), output_field=DurationField()
        )
        watched.update(soak_from=F("soak_from") + halted)
        detail = {"since": stop.started_at.isoformat(), "why": stop.reason}
        evidence.record("campaign.lift_stop", user=user, reason=reason, detail=detail, at=now)
        _tell_everybody()
    return True


def _tell_everybody() -> None:
    transaction.on_commit(stopping.forget, robust=True)
    pks = list(Campaign.objects.under_way().values_list("pk", flat=True))
    transaction.on_commit(lambda: live.push(pks), robust=True)
