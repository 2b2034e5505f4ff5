"""Dead letters taken in once more, after what was wrong was mended. Doing it twice changes nothing.

A batch of letters is locked, stored and settled, and the figures of the job are written, in one transaction: a letter
whose readings are stored is gone with it, one that is refused again says since when. So a crash repeats at most a
batch that never was, two replays at once take different letters, and readings have a key that stores them once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F, Q
from django.utils import timezone

from devices import evidence
from devices.registry import Incoming, Refused
from devices.tenancy import ScopedQuerySet
from telemetry import ingest, jobs
from telemetry.models import DeadLetter, Replay
from telemetry.refused import deadletters
from telemetry.refused.selections import Selection, replayable

BATCH = 200
_log = structlog.get_logger(__name__)
_HEAD = ("tenant", "device_type", "device")


@dataclass(slots=True)
class Taken:
    """What became of letters."""

    stored: int = 0
    """New readings."""
    duplicates: int = 0
    """Readings that were there already."""
    refused: dict[int, list[Refused]] = field(default_factory=dict)
    """By letter: what of it was refused."""

    def add(self, stored: int, duplicates: int, refused: Sequence[tuple[int, Refused]]) -> None:
        """And more of them."""
        self.stored += stored
        self.duplicates += duplicates
        for letter, item in refused:
            self.refused.setdefault(letter, []).append(item)


def request(selection: Selection, user: Any, why: str, now: datetime) -> Replay:
    """Have these letters taken in again, with an event that says who wanted it and why."""
    with transaction.atomic():
        replay: Replay = Replay.objects.create(requested_by=user, why=why, **selection.fields())
        detail = {"replay": replay.pk, "letters": selection.words()}
        evidence.record(
            "deadletters.replay_requested", device=selection.device, tenant=selection.tenant, user=user, reason=why,
            detail=detail, at=now,
        )  # fmt: skip
        jobs.start(replay)
    return replay


def run(pk: int) -> None:
    """Run a replay to its end, with progress. Another worker's, or one that has ended, is left alone."""
    jobs.work(Replay, pk, _run)


def _run(replay: Replay) -> None:
    head: Replay = Replay.objects.select_related(*_HEAD).get(pk=replay.pk)
    # Letters that come in meanwhile are not this replay's: it would never end.
    rows = Selection.of(head).rows().filter(first_received_at__lt=replay.created_at)
    if not replay.total:
        total = rows.count()
        skipped = total - replayable(rows).count()
        jobs.beat(replay, total=total, skipped=skipped, done=skipped)
    untried = Q(replayed_at=None) | Q(replayed_at__lt=replay.created_at)
    rows = replayable(rows).filter(untried).order_by("pk")
    last: int | None = 0
    while last is not None:
        last = _batch(replay, rows.filter(pk__gt=last), BATCH, skip_locked=True)
    # Those that somebody else held at that moment: one by one, as nothing else may be held while waiting.
    while _batch(replay, rows, 1, skip_locked=False) is not None:
        pass
    jobs.finish(replay)


def _batch(replay: Replay, rows: ScopedQuerySet[DeadLetter], most: int, *, skip_locked: bool) -> int | None:
    """Take some letters in, in one transaction. Returns the last one's row; None when there was none."""
    with transaction.atomic():
        letters = list(rows.select_for_update(of=("self",), skip_locked=skip_locked)[:most])
        if not letters:
            return None
        taken = Taken()
        _take(letters, taken)
        deadletters.settle([(letter, taken.refused.get(letter.pk, [])) for letter in letters], timezone.now())
        jobs.beat(
            replay,
            done=F("done") + len(letters),
            stored=F("stored") + taken.stored,
            duplicates=F("duplicates") + taken.duplicates,
            refused=F("refused") + len(taken.refused),
        )
    return letters[-1].pk


def _take(letters: list[DeadLetter], taken: Taken) -> None:
    """Store what can be stored. A letter that the database itself refuses is found by halving, and refused alone."""
    messages = [Incoming(each.topic, bytes(each.payload), qos=0) for each in letters]
    try:
        with transaction.atomic():
            outcome = ingest.store_again(messages, [each.first_received_at for each in letters])
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if len(letters) > 1:
            half = len(letters) // 2
            _take(letters[:half], taken)
            _take(letters[half:], taken)
            return
        _log.warning("letter_unstorable", letter=letters[0].pk, error=type(error).__name__)
        detail = f"{type(error).__name__}: {error}"
        taken.add(0, 0, [(letters[0].pk, Refused(messages[0], "unstorable", detail, device_pk=letters[0].device_id))])
        return
    whose = [letters[place].pk for place in outcome.refused_at]
    taken.add(outcome.stored, outcome.duplicates, list(zip(whose, outcome.refused, strict=True)))


def try_again(letter: DeadLetter) -> Taken:
    """What would be said of a letter now: everything is done as in a replay, and undone. Stores nothing."""
    taken = Taken()
    with transaction.atomic():
        _take([letter], taken)
        transaction.set_rollback(True)
    return taken
