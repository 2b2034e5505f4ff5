"""From a click to the cut: done by whatever way, once, in seconds, and kept as evidence."""

from datetime import timedelta

import pytest
from cryptography import x509
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import broker, certificates, cutoffs, evidence, lifecycle, outgoing, pki, tasks
from devices.models import Authority, Certificate, Device, Event
from tests.devices import identities, peers
from tests.devices.desk import queued
from tests.factories import DeviceFactory, DeviceTypeFactory, TenantFactory

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


def now():
    return timezone.now()


def quarantined(device=None, ago=timedelta(0)):
    """A device, and the decision about it."""
    device = device or DeviceFactory()
    return device, evidence.record("device.quarantined", device=device, at=now() - ago)


def told():
    """Of each cut its device's id and the decisions it carried out."""
    rows = Event.objects.filter(kind="device.cut_off").order_by("id")
    return [(row.device.device_id, row.detail["decisions"]) for row in rows]


def lists_signed():
    """How often the broker's files were written: each revocation list has the next number."""
    crl = x509.load_der_x509_crl(broker.crl_der(Authority.objects.get(kind="issuing").pk))
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


class TestNoting:
    def test_the_seconds_since_the_decision_are_evidence_and_a_measure(self):
        device, decision = quarantined()
        before = cutoffs.SECONDS._sum.get()
        waited = cutoffs.note([decision], {device.device_id: decision.at + 2 * SECOND}, now())
        assert waited == {device.device_id: 2.0}
        event = Event.objects.get(kind="device.cut_off")
        assert event.detail == {"seconds": 2.0, "cause": "device.quarantined", "decisions": [decision.pk]}
        assert event.tenant == device.tenant
        assert cutoffs.SECONDS._sum.get() - before == pytest.approx(2)

    def test_several_decisions_about_one_device_are_one_cut_measured_from_the_first(self, ca):
        device = DeviceFactory()
        certificates.issue(device, pki.read_request(peers.csr().encode()), now())
        lifecycle.decommission(device, "scrapped", None, now())
        decisions = cutoffs.pending(now(), [device.device_id])
        assert [each.kind for each in decisions] == ["device.decommissioned", "certificate.revoked"]
        waited = cutoffs.note(decisions, {device.device_id: decisions[0].at + 3 * SECOND}, now())
        assert waited == {device.device_id: 3.0}
        assert told() == [(device.device_id, [each.pk for each in decisions])]

    def test_a_decision_is_noted_once_by_however_many_workers(self):
        device, decision = quarantined()
        for _ in range(2):
            cutoffs.note([decision], {device.device_id: now()}, now())
        assert told() == [(device.device_id, [decision.pk])]

    def test_a_release_is_not_taken_for_a_late_cut_of_the_quarantine_before_it(self):
        device = DeviceFactory()
        lifecycle.quarantine(device, "odd", None)
        cutoffs.note(cutoffs.pending(now()), {device.device_id: now()}, now())
        lifecycle.release(device, "fine", None)
        (decision,) = cutoffs.pending(now())
        assert decision.kind == "device.released"


class TestPending:
    def test_what_was_decided_lately_and_not_carried_out_oldest_first(self):
        (one, first), (other, second) = quarantined(), quarantined()
        assert cutoffs.pending(now()) == [first, second]
        assert cutoffs.pending(now(), [other.device_id]) == [second]
        assert cutoffs.pending(now(), before=first.at) == [first]
        assert cutoffs.pending(now(), limit=1) == [first]
        cutoffs.note([first], {one.device_id: now()}, now())
        assert cutoffs.pending(now()) == [second]

    def test_a_cut_that_was_under_way_does_not_count_for_what_was_decided_meanwhile(self):
        device, first = quarantined()
        _, second = quarantined(device)
        cutoffs.note([first], {device.device_id: now()}, now())
        assert cutoffs.pending(now()) == [second]

    def test_after_a_day_nobody_looks_any_more(self):
        quarantined(ago=timedelta(days=1, seconds=1))
        assert cutoffs.pending(now()) == []

    def test_a_superseded_certificate_needs_no_cut(self, ca):
        claim, _ = identities.make_claim(TenantFactory(), DeviceTypeFactory(), "c", now())
        device = identities.join(claim, "hw", now())
        certificates.seen(device.certificates.get(), "A birth", now())
        identities.renew(device, now())
        assert certificates.retire(now() + timedelta(days=1)) == 1
        assert cutoffs.pending(now()) == []

    def test_both_sides_are_found_by_an_index(self):
        with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
            cutoffs.pending(now(), before=now())
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("EXPLAIN " + queries.captured_queries[0]["sql"])
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "event_decision" in plan
        assert "Seq Scan on devices_event" not in plan, plan


@pytest.mark.usefixtures("ca", "mosquitto_server")
class TestShuttingOut:
    def test_all_are_cut_after_the_files_were_written_once_and_are_met_again_twice(self, tmp_path):
        made = [peers.enrolled(tmp_path) for _ in range(3)]
        names = [each.device_id for each in made]
        queued()
        with peers.device(made[0]) as first, peers.device(made[1]) as second:
            for name in names:
                certificates.revoke(Certificate.objects.get(device__device_id=name), "stolen", None, now())
            before = lists_signed()
            assert tasks.shut_out(names) == 3
            peers.eventually(lambda: first.ended and second.ended, what="cut")
        assert lists_signed() == before + 1
        assert [device_id for device_id, _ in told()] == names, "also the one that was not connected"
        assert all(event.detail["seconds"] < 5 for event in Event.objects.filter(kind="device.cut_off"))
        assert queued() == [("devices.tasks.cut", f"({names},)")] * 2

    def test_the_later_cut_meets_who_came_back(self, tmp_path):
        identity = peers.enrolled(tmp_path)
        with peers.device(identity) as peer:
            tasks.cut([identity.device_id])
            peers.eventually(lambda: peer.ended, what="cut")

    @pytest.mark.parametrize("task", [tasks.shut_out, tasks.cut])
    def test_is_tried_again_and_fails_aloud_while_the_broker_is_away(self, settings, task):
        device, decision = quarantined()
        settings.MQTT_URL, before = "mqtt://127.0.0.1:1", lists_signed()
        with pytest.raises(OSError, match="refused"):
            task([device.device_id])
        done = task.apply(([device.device_id],))
        assert (done.state, type(done.result)) == ("FAILURE", ConnectionRefusedError)
        assert lists_signed() - before == (12 if task is tasks.shut_out else 0)
        assert cutoffs.pending(now()) == [decision], "it is still to be done"

    def test_tries_last_for_minutes_and_are_over_before_the_queue_gives_the_message_to_another(self, settings):
        task = tasks.shut_out
        waits = [min(2**each, task.retry_backoff_max) for each in range(task.max_retries)]
        assert 120 < sum(waits) < 300
        assert max(waits) < settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"]
        assert task.acks_late


@pytest.mark.usefixtures("ca", "mosquitto_server")
class TestOverdue:
    def test_what_the_queue_never_heard_is_done_within_a_minute_and_once(self, tmp_path):
        identity = peers.enrolled(tmp_path)
        device = Device.objects.get(device_id=identity.device_id)
        away, away_decision = quarantined(ago=timedelta(hours=3))
        with peers.device(identity) as peer:
            _, decision = quarantined(device, ago=tasks.OVERDUE)
            before = lists_signed()
            assert tasks.shut_out_overdue() == 2
            peers.eventually(lambda: peer.ended, what="cut")
        assert lists_signed() == before + 1
        assert sorted(told()) == sorted([(device.device_id, [decision.pk]), (away.device_id, [away_decision.pk])])
        assert tasks.shut_out_overdue() == 0
        assert lists_signed() == before + 1

    def test_a_decision_of_this_moment_is_left_to_its_own_task(self):
        quarantined()
        before = lists_signed()
        assert tasks.shut_out_overdue() == 0
        assert (lists_signed(), told()) == (before, [])

    def test_stays_overdue_while_the_broker_is_away(self, settings):
        _, decision = quarantined(ago=tasks.OVERDUE)
        settings.MQTT_URL = "mqtt://127.0.0.1:1"
        with pytest.raises(OSError, match="refused"):
            tasks.shut_out_overdue()
        assert cutoffs.pending(now()) == [decision]

    def test_beat_asks_so_often_that_a_minute_is_kept_to(self, settings):
        (entry,) = [each for each in settings.CELERY_BEAT_SCHEDULE.values() if each["task"].endswith("overdue")]
        assert entry["schedule"] + tasks.OVERDUE.total_seconds() < 60


def test_shutting_out_never_waits_behind_other_work():
    router = tasks.shut_out.app.amqp.router
    for task in (tasks.shut_out, tasks.shut_out_overdue, tasks.cut):
        assert router.route({}, task.name)["queue"].name == "urgent"
    assert router.route({}, tasks.rotate_certificates.name)["queue"].name == "default"


def test_the_portal_says_nothing_to_a_broker_about_nobody(settings):
    settings.MQTT_URL = "mqtt://127.0.0.1:1"
    assert tasks.shut_out([]) == 0
    with pytest.raises(OSError, match="refused"):
        outgoing.cut("d-any")
