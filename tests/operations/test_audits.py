"""The run: each audit for itself, findings that say what is true, two workers at once."""

import io
import threading
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from devices import auditing, evidence, findings
from devices.auditing import Audit, Found, add_audit
from devices.models import Event, Finding, Suppression
from fleetportal.celery import app
from operations import audits, tasks
from operations.models import ConnectionMinute
from tests.factories import DeviceFactory, StaffFactory
from tests.fleetportal.workers import workers
from tests.operations.conftest import opened

DAY = timedelta(days=1)


@pytest.fixture
def registered(monkeypatch):
    """Add audits for one test: name → look, each owning the kind of its name. No others run."""
    monkeypatch.setattr(auditing, "_audits", {})

    def add(name, look, **kwargs):
        add_audit(Audit(name, (name,), look, **kwargs))

    return add


def broken(_now):
    raise RuntimeError("lost its glasses")


@pytest.mark.django_db
class TestRun:
    def test_what_is_true_is_open_once_and_what_is_no_longer_is_resolved(self, registered):
        device, true = DeviceFactory(), [True]
        registered("rust", lambda _: [Found("rust", "It rusts.", "critical", device.pk, "s")] if true[0] else [])
        for _ in range(3):
            (ran,) = audits.run(timezone.now())
        assert (ran.found, ran.opened, ran.resolved) == (1, 0, 0)
        row = Finding.objects.get()
        assert (row.count, row.severity, row.detail, row.resolved_at) == (1, "critical", "It rusts.", None)
        true[0] = False
        (ran,) = audits.run(timezone.now())
        assert (ran.found, ran.opened, ran.resolved) == (0, 0, 1)
        assert opened() == {}
        event = Event.objects.get(kind="finding.resolved")
        assert (event.actor, event.device, event.tenant) == ("audit", device, device.tenant)
        assert event.detail == {"kind": "rust", "subject": "s"}

    def test_seen_again_it_is_seen_later_and_tells_what_is_true_now(self, registered):
        told = [("warning", "a little")]
        registered("rust", lambda _: [Found("rust", told[0][1], told[0][0])])
        audits.run(timezone.now())
        Finding.objects.update(last_seen_at=timezone.now() - DAY)
        told[0] = ("critical", "a lot")
        audits.run(timezone.now())
        row = Finding.objects.get()
        assert (row.severity, row.detail) == ("critical", "a lot")
        assert row.last_seen_at > timezone.now() - DAY

    def test_resolved_by_hand_and_still_true_it_opens_again(self, registered):
        registered("rust", lambda _: [Found("rust", "x")])
        audits.run(timezone.now())
        assert findings.resolve(Finding.objects.get(), "painted", StaffFactory(), timezone.now())
        audits.run(timezone.now())
        assert Finding.objects.count() == 2
        assert opened() == {("rust", None, ""): "warning"}

    def test_findings_of_others_are_left_alone(self, registered):
        evidence.find("flood", "x")
        registered("rust", lambda _: [])
        audits.run(timezone.now())
        assert opened() == {("flood", None, ""): "warning"}

    def test_of_several_about_the_same_thing_the_worst_is_told(self, registered):
        found = [Found("rust", "a", "info"), Found("rust", "b", "critical"), Found("rust", "c", "warning")]
        registered("rust", lambda _: found)
        audits.run(timezone.now())
        assert Finding.objects.values_list("severity", "detail").get() == ("critical", "b")

    def test_one_that_fails_is_a_finding_until_it_works_and_does_not_stop_the_others(self, registered):
        def broken_in_sql(_now):
            with connection.cursor() as cursor:
                cursor.execute("SELECT no_such_thing")

        look = [broken]
        registered("broken", lambda now: look[0](now))  # noqa: PLW0108 (asked anew each time)
        registered("sql", broken_in_sql)
        registered("rust", lambda _: [Found("rust", "x")])
        ran = {each.name: each for each in audits.run(timezone.now())}
        assert (ran["broken"].state, ran["broken"].failed) == ("RuntimeError: lost its glasses", True)
        assert set(opened()) == {("audit_failed", None, "broken"), ("audit_failed", None, "sql"), ("rust", None, "")}
        look[0] = lambda _now: []
        audits.run(timezone.now(), ["broken"])
        assert set(opened()) == {("audit_failed", None, "sql"), ("rust", None, "")}

    def test_one_that_could_not_see_changes_nothing(self, registered):
        seen = [[Found("rust", "x")]]
        registered("rust", lambda _: seen[0])
        audits.run(timezone.now())
        seen[0] = None
        assert [ran.state for ran in audits.run(timezone.now())] == ["unseen"]
        assert opened() == {("rust", None, ""): "warning"}

    def test_too_many_are_cut_and_this_is_a_finding_and_none_is_resolved_unseen(self, registered, monkeypatch):
        monkeypatch.setattr(audits, "LIMIT", 3)
        numbers = [range(5)]
        registered("rust", lambda _: (Found("rust", "x", subject=str(n)) for n in numbers[0]))
        audits.run(timezone.now())
        assert set(opened()) == {*(("rust", None, str(n)) for n in range(3)), ("audit_overflow", None, "rust")}
        numbers[0] = range(2, 8)
        audits.run(timezone.now())
        assert len(opened()) == 6
        numbers[0] = range(2)
        audits.run(timezone.now())
        assert set(opened()) == {("rust", None, "0"), ("rust", None, "1")}

    def test_often_asks_only_the_urgent_ones(self, registered):
        registered("rust", lambda _: [])
        registered("fire", lambda _: [], often=True)
        assert [ran.name for ran in audits.run(timezone.now(), often=True)] == ["fire"]
        assert [ran.name for ran in audits.run(timezone.now())] == ["rust", "fire"]

    def test_a_kind_has_one_owner(self, registered):
        registered("rust", lambda _: [])
        with pytest.raises(ValueError, match="owns a kind"):
            add_audit(Audit("other", ("rust",), lambda _: []))
        with pytest.raises(ValueError, match="rust"):
            add_audit(Audit("rust", ("other",), lambda _: []))


@pytest.mark.django_db
class TestSuppressed:
    def test_it_is_quiet_until_it_ends_and_then_raised_again(self, registered):
        device, other = DeviceFactory(), DeviceFactory()
        registered("rust", lambda _: [Found("rust", "x", device_pk=pk) for pk in (device.pk, other.pk)])
        audits.run(timezone.now())
        now = timezone.now()
        findings.suppress(
            "rust", device=device, subject="", reason="paint ordered", until=now + DAY, user=StaffFactory(), now=now
        )
        audits.run(timezone.now())
        assert opened() == {("rust", other.pk, ""): "warning"}
        Suppression.objects.update(expires_at=timezone.now() - DAY)
        audits.run(timezone.now())
        assert set(opened()) == {("rust", device.pk, ""), ("rust", other.pk, "")}

    def test_what_slipped_through_is_closed_by_the_next_run_of_whatever(self, registered):
        evidence.find("flood", "x")
        Suppression.objects.create(kind="flood", reason="known", expires_at=timezone.now() + DAY)
        registered("rust", lambda _: [])
        audits.run(timezone.now(), often=True)
        assert opened() == {}
        assert Event.objects.get(kind="finding.resolved").reason.endswith(": known")


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_raise_each_finding_once_and_never_fail(registered):
    devices = DeviceFactory.create_batch(20)
    together = threading.Barrier(4)

    def look(_now):
        return [Found("rust", "x", device_pk=device.pk) for device in devices]

    for name in ("rust", "fire", "flood"):
        registered(name, lambda now, name=name: [Found(name, "x", device_pk=found.device_pk) for found in look(now)])

    def run():
        connection.ensure_connection()
        together.wait(10)
        return [ran.state for _ in range(5) for ran in audits.run(timezone.now())]

    with workers(4) as team:
        states = {state for each in [worker.begin(run) for worker in team] for state in each.result(60)}
    assert states <= {"done", "busy"}
    assert Finding.objects.filter(resolved_at__isnull=True).count() == Finding.objects.count() == 60


@pytest.mark.django_db(transaction=True)
def test_an_audit_that_another_worker_is_at_is_left_to_it(registered):
    inside, leave = threading.Event(), threading.Event()

    def slow(_now):
        inside.set()
        leave.wait(20)
        return []

    registered("slow", slow)
    with workers(1) as (other,):
        running = other.begin(lambda: audits.run(timezone.now()))
        assert inside.wait(20)
        assert [ran.state for ran in audits.run(timezone.now())] == ["busy"]
        leave.set()
        assert [ran.state for ran in running.result(20)] == ["done"]


@pytest.mark.django_db
@pytest.mark.usefixtures("ca", "mosquitto_server")
class TestDoors:
    @pytest.fixture(autouse=True)
    def _no_backlog_of_other_tests(self):
        cache.clear()

    def test_beats_tasks_run_every_audit_and_forget_old_minutes(self):
        ConnectionMinute.objects.create(minute=timezone.now() - 100 * DAY)
        assert set(tasks.run_audits().values()) == {"done"}
        assert set(tasks.run_audits()) == {each.name for each in auditing.audits()}
        assert set(tasks.run_urgent_audits()) == {each.name for each in auditing.audits() if each.often}
        assert not ConnectionMinute.objects.exists()
        assert opened() == {}

    def test_beat_and_the_workers_know_them(self, settings):
        app.loader.import_default_modules()
        assert {"operations.tasks.run_audits", "operations.tasks.run_urgent_audits"} <= set(app.tasks)
        planned = {line["task"]: line["schedule"] for line in settings.CELERY_BEAT_SCHEDULE.values()}
        assert planned["operations.tasks.run_audits"] == 3600
        assert planned["operations.tasks.run_urgent_audits"] == 60

    def test_the_command_prints_a_table_and_exits_clean_when_nothing_is_critical(self):
        out = io.StringIO()
        evidence.find("flood", "x")
        call_command("audit", stdout=out)
        assert len(out.getvalue().splitlines()) == 1 + len(auditing.audits())
        assert "device-door" in out.getvalue()

    def test_it_exits_with_1_and_says_why_when_something_is(self):
        device, out = DeviceFactory(), io.StringIO()
        evidence.find("key_reused", "Somebody has its key.", device_pk=device.pk, severity="critical")
        with pytest.raises(SystemExit) as end:
            call_command("audit", "acl", stdout=out)
        assert end.value.code == 1
        assert device.device_id in out.getvalue()
        assert "Somebody has its key." in out.getvalue()

    def test_it_names_the_audits_there_are(self):
        with pytest.raises(CommandError, match=r"no-such.*weak-keys"):
            call_command("audit", "no-such")
