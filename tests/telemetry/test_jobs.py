"""Jobs: claimed by one worker, alive by their beats, begun again after a crash, and ended in words for people."""

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from redis.exceptions import ConnectionError as QueueAway

from telemetry import jobs, tasks
from telemetry.exporting.exports import ExportError
from telemetry.models import Replay
from telemetry.refused import replays
from telemetry.refused.selections import Selection
from tests.devices import peers
from tests.factories import UserFactory

NOW = timezone.now


@pytest.fixture
def sent(monkeypatch):
    """What was queued."""
    told = []
    monkeypatch.setattr("telemetry.jobs.current_app.send_task", lambda name, args: told.append((name, args)))
    return told


@pytest.fixture
def job(db):
    return Replay.objects.create()


def state(job):
    job.refresh_from_db()
    return job.state


def crashed(job, ago=jobs.STALE * 2):
    """A worker began it, and was never heard again."""
    with pytest.raises(KeyboardInterrupt):
        jobs.work(type(job), job.pk, interrupt)
    type(job).objects.filter(pk=job.pk).update(beat_at=NOW() - ago)


def interrupt(_job):
    raise KeyboardInterrupt


def test_is_queued_after_the_commit(db, sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        made = replays.request(Selection(), None, "why", NOW())
        assert sent == []
    assert sent == [("telemetry.tasks.replay", [made.pk])]


def test_the_queue_knows_both_kinds(settings):
    routes = settings.CELERY_TASK_ROUTES
    assert [tasks.replay.name, tasks.export.name] == ["telemetry.tasks.replay", "telemetry.tasks.export"]
    assert {routes[name]["queue"] for name in ("telemetry.tasks.replay", "telemetry.tasks.export")} == {"jobs"}
    assert tasks.tidy_jobs.name not in routes, "a long job must not keep others from being begun again"


def test_runs_once_and_is_done(job):
    done = []
    for _ in range(2):
        jobs.work(Replay, job.pk, lambda each: (done.append(each.pk), jobs.finish(each)))
    assert done == [job.pk]
    assert state(job) == "done"
    assert job.finished_at is not None


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_claim_it_at_once_run_it_once():
    job = Replay.objects.create()
    begin, ran = threading.Barrier(4), []

    def work():
        begin.wait()
        try:
            jobs.work(Replay, job.pk, lambda each: (ran.append(each.starts), jobs.finish(each)))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert ran == [1]
    assert state(job) == "done"


def test_a_beat_tells_progress(job):
    def work(each):
        jobs.beat(each, done=3, total=4)
        job.refresh_from_db()
        assert (job.done, job.percent, job.state) == (3, 75, "running")
        jobs.finish(each)

    before = NOW()
    jobs.work(Replay, job.pk, work)
    assert state(job) == "done"
    assert job.beat_at >= before
    assert (job.done, job.percent) == (4, 100)


def test_one_that_is_cut_off_runs_again(job, sent):
    crashed(job)
    assert state(job) == "running"
    assert jobs.resume(NOW()) == 1
    assert (state(job), sent) == ("waiting", [("telemetry.tasks.replay", [job.pk])])
    assert jobs.resume(NOW()) == 0  # queued a moment ago
    jobs.work(Replay, job.pk, jobs.finish)
    assert (state(job), job.starts) == ("done", 2)


def test_one_that_beats_is_left_alone(job, sent):
    crashed(job, ago=jobs.STALE / 2)
    assert (jobs.resume(NOW()), state(job), sent) == (0, "running", [])


def test_one_that_nobody_began_is_queued_again(job, sent):
    assert jobs.resume(NOW()) == 0
    assert jobs.resume(NOW() + jobs.STALE * 2) == 1
    assert sent == [("telemetry.tasks.replay", [job.pk])]


def test_one_that_kills_its_worker_each_time_fails_after_some_starts(job, sent):
    for _ in range(jobs.STARTS):
        assert state(job) == "waiting"
        crashed(job)
        jobs.resume(NOW())
    assert (state(job), len(sent)) == ("failed", jobs.STARTS - 1)
    assert "begun 3 times" in job.error
    assert jobs.resume(NOW() + timedelta(days=1)) == 0


def test_a_worker_that_was_only_slow_finds_that_it_lost_the_job(job, sent):
    def slow(each):
        Replay.objects.filter(pk=each.pk).update(beat_at=NOW() - jobs.STALE * 2)
        jobs.resume(NOW())
        jobs.work(Replay, each.pk, jobs.finish)  # another worker does it meanwhile
        with pytest.raises(jobs.Lost):
            jobs.beat(each, done=99)
        jobs.finish(each, done=99)

    jobs.work(Replay, job.pk, slow)
    assert (state(job), job.done, job.starts) == ("done", 0, 2)


def test_what_is_refused_is_told_in_its_own_words(job):
    def work(_job):
        raise ExportError("Too many rows.")

    jobs.work(Replay, job.pk, work)
    assert (state(job), job.error) == ("failed", "Too many rows.")


def test_what_breaks_is_told_without_its_secrets(job):
    def work(_job):
        raise ValueError("postgres://user:secret@host")

    jobs.work(Replay, job.pk, work)
    assert state(job) == "failed"
    assert "secret" not in job.error
    assert "log" in job.error


def test_a_database_that_is_away_fails_nothing(job):
    def work(_job):
        raise OperationalError("gone")

    with pytest.raises(OperationalError):
        jobs.work(Replay, job.pk, work)
    assert state(job) == "running"  # and begins anew when its beat is old


def test_cancelling_ends_it_once(job):
    assert jobs.cancel(job, NOW()) is True
    assert jobs.cancel(job, NOW()) is False
    jobs.work(Replay, job.pk, jobs.finish)
    assert state(job) == "canceled"


def test_the_queue_may_be_away(db, monkeypatch, django_capture_on_commit_callbacks):
    def away(name, args):
        raise QueueAway

    monkeypatch.setattr("telemetry.jobs.current_app.send_task", away)
    with django_capture_on_commit_callbacks(execute=True):
        made = replays.request(Selection(), None, "why", NOW())
    assert state(made) == "waiting"


def test_the_clock_begins_them_again(db, sent):
    Replay.objects.create()
    Replay.objects.update(created_at=NOW() - jobs.STALE * 2)
    tasks.tidy_jobs()
    assert [name for name, _ in sent] == ["telemetry.tasks.replay"]


@pytest.mark.django_db(transaction=True)
class TestAlive:
    def test_what_takes_long_gives_signs_of_life(self, monkeypatch):
        monkeypatch.setattr(jobs, "BEAT_SECONDS", 0.02)
        job = _running()
        with jobs.alive(job):
            began = Replay.objects.get().beat_at
            peers.eventually(lambda: Replay.objects.get().beat_at > began)

    def test_who_lost_the_job_meanwhile_is_told_at_its_end(self, monkeypatch):
        monkeypatch.setattr(jobs, "BEAT_SECONDS", 0.02)
        job, done = _running(), []
        with pytest.raises(jobs.Lost), jobs.alive(job):
            Replay.objects.update(state="canceled")
            peers.eventually(lambda: not any(thread.name == "alive" for thread in threading.enumerate()))
            done.append("its own work")
        assert done

    def test_its_own_mistakes_are_passed_on_and_the_thread_ends(self):
        with pytest.raises(ZeroDivisionError), jobs.alive(_running()):
            raise ZeroDivisionError
        assert not any(thread.name == "alive" for thread in threading.enumerate())


def _running():
    replay = Replay.objects.create(requested_by=UserFactory(), reason="because")
    return jobs._claim(Replay, replay.pk, timezone.now())
