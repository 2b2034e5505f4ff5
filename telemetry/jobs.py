"""What replays and exports have in common: starting, progress, ending, and starting anew after a crash.

A row is a job, the queue only a nudge. A worker claims it by a conditional update, and `starts` is its token: whoever
is told to begin it again takes a new one, and the old worker, dead or only slow, finds at its next beat that the job
is no longer its own. So two never run one, and one that is cut off runs again.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from celery import current_app
from celery.exceptions import OperationalError as QueueError
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q
from django.utils import timezone
from redis.exceptions import RedisError

from devices.errors import DomainError
from telemetry.models import Export, Job, Replay

STALE = timedelta(minutes=2)
"""A job whose last sign of life is older begins anew; beats come every few seconds."""
BEAT_SECONDS = 20.0
STARTS = 3
"""Times a job is begun; one that kills its worker each time must not do so for ever."""
MODELS: tuple[type[Job], ...] = (Replay, Export)
_State = Job.State
_Job = TypeVar("_Job", bound=Job)
_log = structlog.get_logger(__name__)


class Lost(Exception):
    """The job is not this worker's any more: somebody cancelled it, or another worker has it."""


def start(job: Job) -> None:
    """Queue it after the commit of the transaction that made it. While the queue is away, `resume` does."""
    transaction.on_commit(lambda: _send(job), robust=True)


def _send(job: Job) -> None:
    try:
        current_app.send_task(f"telemetry.tasks.{job._meta.model_name}", [job.pk])
    except (QueueError, RedisError) as error:
        _log.warning("job_not_queued", job=str(job), error=type(error).__name__)


def work(model: type[_Job], pk: int, do: Callable[[_Job], None]) -> None:
    """Claim the job and do it; nothing where another worker has it or it has ended. `do` ends with `finish`.

    What `do` raises becomes the job's end, in words for people. A database that is away does not: that is raised, and
    the job begins anew later.
    """
    job = _claim(model, pk, timezone.now())
    if job is None:
        return
    try:
        do(job)
    except Lost:
        _log.info("job_lost", job=str(job))
    except DomainError as error:
        _fail(job, error.detail)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        _log.exception("job_failed", job=str(job))
        _fail(job, f"Something went wrong in the portal. Its log tells what, under “job_failed” and “{job}”.")


def _claim(model: type[_Job], pk: int, now: datetime) -> _Job | None:
    rows: Any = model._default_manager.filter(pk=pk)
    told = {"state": _State.RUNNING, "starts": F("starts") + 1, "started_at": now, "beat_at": now}
    if not rows.filter(state=_State.WAITING).update(**told):
        return None
    job: _Job = rows.get()
    return job


def _ours(job: Job) -> Any:
    return type(job)._default_manager.filter(pk=job.pk, state=_State.RUNNING, starts=job.starts)


def beat(job: Job, **changes: Any) -> None:
    """A sign of life, with progress. Raises `Lost`; inside a transaction what the batch did is then undone."""
    if not _ours(job).update(beat_at=timezone.now(), **changes):
        raise Lost


@contextmanager
def alive(job: Job) -> Iterator[None]:
    """Signs of life from a thread of its own, while something is done that gives none. Raises `Lost` at the end.

    A database that is away meanwhile is no reason to end: the next beat will tell.
    """
    over, lost = threading.Event(), threading.Event()

    def run() -> None:
        try:
            while not over.wait(BEAT_SECONDS):
                with suppress(OperationalError, InterfaceError):
                    beat(job)
        except Lost:
            lost.set()
        finally:
            connection.close()  # this thread's own

    thread = threading.Thread(target=run, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if lost.is_set():
        raise Lost


def finish(job: Job, **changes: Any) -> None:
    """It is done. Raises `Lost`."""
    now = timezone.now()
    told = {"state": _State.DONE, "done": F("total"), "beat_at": now, "finished_at": now}
    if not _ours(job).update(**told | changes):
        raise Lost


def _fail(job: Job, error: str) -> None:
    _ours(job).update(state=_State.FAILED, error=error[:500], finished_at=timezone.now())


def cancel(job: Job, now: datetime) -> bool:
    """End it where it is; what is done stays done. False when it has ended already. Who may, the caller asks."""
    rows: Any = type(job)._default_manager.filter(pk=job.pk, state__in=Job.OPEN)
    return bool(rows.update(state=_State.CANCELED, finished_at=now))


def resume(now: datetime) -> int:
    """Queue jobs anew whose worker gave no sign of life, and those that nobody has begun. Returns how many.

    One that was begun `STARTS` times fails instead.
    """
    queued = 0
    for model in MODELS:
        silent = Q(beat_at__lt=now - STALE) | Q(beat_at=None, created_at__lt=now - STALE)
        rows: Any = model._default_manager.filter(silent, state__in=Job.OPEN)
        error = f"It was begun {STARTS} times, and each time its worker ended without a word: memory, disk or a crash."
        rows.filter(state=_State.RUNNING, starts__gte=STARTS).update(state=_State.FAILED, error=error, finished_at=now)
        for job in rows.order_by("created_at"):
            # The condition again: whoever looked at the same moment has moved the beat.
            if rows.filter(pk=job.pk).update(state=_State.WAITING, beat_at=now):
                _send(job)
                queued += 1
    return queued
