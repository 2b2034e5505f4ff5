"""A certificate's life after the first: due, asked, issued, proven by use, and only then the old one goes."""

import threading
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import IntegrityError, connection, transaction

from devices import authorities, certificates, lifecycle, pki, renewals
from devices.models import (
    Authority,
    Certificate,
    Device,
    Event,
    Finding,
    Group,
    MaintenanceWindow,
    Renewal,
)
from tests.devices.renewing import DAY, LATE, NOW, Member, asked_ids, refusal, the
from tests.factories import StaffFactory
from tests.fleetportal.workers import workers

pytestmark = pytest.mark.django_db


@pytest.fixture
def member(ca):
    return Member()


class TestSelecting:
    def test_a_certificate_is_due_in_the_last_third_of_its_life(self, member):
        early = member.certificate.renew_at - timedelta(seconds=1)
        assert (renewals.plan(early), renewals.plan(member.certificate.renew_at)) == (0, 1)
        assert the(member).state == "due"

    def test_it_is_opened_once_however_often_one_looks(self, member):
        assert [renewals.plan(LATE), renewals.plan(LATE), renewals.plan(LATE + DAY)] == [1, 0, 0]

    def test_the_database_allows_one_open_renewal_a_device(self, member):
        renewals.plan(LATE)
        with pytest.raises(IntegrityError, match="renewal_one_open_per_device"), transaction.atomic():
            Renewal.objects.create(device=member.row, certificate=member.certificate, next_attempt_at=NOW)

    @pytest.mark.parametrize("state", ["registered", "quarantined", "decommissioned"])
    def test_only_active_devices_renew(self, member, state):
        Device.objects.filter(pk=member.row.pk).update(state=state)
        assert renewals.plan(LATE) == 0

    def test_a_device_with_something_newer_is_left_alone(self, member):
        member.renew(NOW + DAY)
        assert renewals.plan(LATE) == 0

    def test_a_device_that_never_proves_anything_is_asked_too(self, ca):
        member = Member()
        Certificate.objects.update(state="pending", first_seen_at=None, last_seen_at=None)
        assert renewals.plan(LATE) == 1 and asked_ids(LATE) == [member.row.device_id]

    def test_staff_may_ask_whenever_they_like(self, member):
        staff = StaffFactory()
        assert renewals.request(Device.objects.all(), staff, NOW) == 1
        row = the(member)
        assert (row.cause, row.requested_by) == ("staff", staff)
        assert Event.objects.get(kind="renewal.requested").user == staff
        assert renewals.request(Device.objects.all(), staff, NOW) == 0
        assert asked_ids(NOW) == [member.row.device_id]

    def test_the_dry_run_tells_who_and_when_and_changes_nothing(self, ca, settings):
        settings.RENEWALS_PER_MINUTE = 2
        several = [Member() for _ in range(3)]
        told = renewals.preview(LATE, 90 * DAY)
        assert {each.device for each in told} == {member.row for member in several}
        gaps = [after.at - before.at for before, after in pairwise(told)]
        assert min(gaps) >= timedelta(seconds=30)
        assert renewals.preview(NOW, DAY) == []
        assert not Renewal.objects.exists()


class TestAsking:
    def test_who_is_online_is_asked_and_told_what_to_replace(self, member):
        renewals.plan(LATE)
        (told,) = renewals.ask(LATE)
        assert (told.device_id, told.certificate) == (member.row.device_id, member.certificate)
        row = the(member)
        assert (row.state, row.attempts, row.asked_at) == ("asked", 1, LATE)
        assert row.next_attempt_at == LATE + timedelta(hours=1)
        assert asked_ids(LATE) == []

    def test_who_is_offline_waits_and_loses_no_attempt(self, ca):
        member = Member(online=False)
        renewals.plan(LATE)
        assert asked_ids(LATE) == [] and (the(member).state, the(member).attempts) == ("due", 0)

    def test_the_pace_of_a_minute(self, ca, settings):
        settings.RENEWALS_PER_MINUTE = 3
        for _ in range(5):
            Member()
        renewals.plan(LATE)
        assert [len(renewals.ask(LATE + timedelta(seconds=s))) for s in (0, 30, 59, 61)] == [3, 0, 0, 2]

    def test_the_pace_of_a_group_holds_back_its_own_only(self, ca):
        slow = [Member() for _ in range(3)]
        group = Group.objects.create(tenant=slow[0].row.tenant, name="slow", renewals_per_minute=1)
        for member in slow:
            Device.objects.filter(pk=member.row.pk).update(tenant=group.tenant)
            member.row.groups.add(group)
        free = Member()
        renewals.plan(LATE)
        first, second = asked_ids(LATE), asked_ids(LATE)
        assert free.row.device_id in first and len(first) == 2 and second == []
        assert len(asked_ids(LATE + timedelta(seconds=61))) == 1

    def test_a_quiet_time_holds_back_until_it_gets_urgent(self, member):
        group = Group.objects.create(tenant=member.row.tenant, name="quiet")
        MaintenanceWindow.objects.create(group=group, weekdays="1234567", starts="00:00", minutes=1440)
        member.row.groups.add(group)
        free = Member()
        renewals.plan(LATE)
        assert asked_ids(LATE) == [free.row.device_id]
        urgent = member.certificate.renew_at + (member.certificate.not_after - member.certificate.renew_at) / 2
        assert member.row.device_id in asked_ids(urgent)

    def test_a_quiet_time_does_not_hold_what_staff_ask_for(self, member):
        group = Group.objects.create(tenant=member.row.tenant, name="quiet")
        MaintenanceWindow.objects.create(group=group, weekdays="1234567", starts="00:00", minutes=1440)
        member.row.groups.add(group)
        renewals.request(Device.objects.all(), StaffFactory(), NOW)
        assert asked_ids(NOW) == [member.row.device_id]

    def test_who_never_answers_has_failed_and_people_hear_of_it(self, member):
        renewals.plan(LATE)
        now, attempts = LATE, 0
        while the(member).state != "failed":
            attempts += len(renewals.ask(now))
            now += timedelta(hours=6)
        assert attempts == 8
        row, finding = the(member), Finding.objects.get()
        assert (finding.kind, finding.severity, finding.device) == ("renewal_failed", "critical", member.row)
        assert "Asked 8 times" in row.detail
        assert renewals.plan(now) == 0, "it is left in peace for a while"
        assert renewals.plan(row.next_attempt_at) == 1

    @pytest.mark.parametrize("end", ["revoked", "decommissioned", "expired"])
    def test_a_renewal_ends_with_its_certificate_or_device(self, member, end):
        renewals.plan(LATE)
        now = LATE
        if end == "revoked":
            certificates.revoke(member.certificate, "stolen", None, LATE)
        elif end == "decommissioned":
            lifecycle.decommission(member.row, "sold", None, LATE)
        else:
            now = member.certificate.not_after
        renewals.ask(now)
        assert the(member).state == ("failed" if end == "expired" else "cancelled")
        assert Finding.objects.filter(kind="renewal_failed").exists() is (end == "expired")


class TestIssuing:
    def test_the_next_certificate_waits_to_be_seen(self, member):
        renewals.plan(LATE)
        renewals.ask(LATE)
        _key, issued = member.renew()
        row = the(member)
        assert (row.state, row.successor, row.certificate) == ("issued", issued, member.certificate)
        assert (issued.state, member.state()) == ("pending", "active")

    def test_a_device_may_begin_by_itself(self, member):
        member.renew(NOW + DAY)
        assert (the(member).cause, the(member).state) == ("device", "issued")

    def test_the_same_key_asked_again_gets_the_same_certificate(self, member):
        key, issued = member.renew()
        assert member.renew(key=key)[1] == issued
        assert Certificate.objects.count() == 2

    def test_a_device_that_lost_its_new_key_gets_another(self, member):
        first, second = member.renew()[1], member.renew()[1]
        assert first != second and the(member).successor == second

    @pytest.mark.parametrize("used", [True, False], ids=["each is used", "none is used"])
    def test_a_device_that_collects_certificates_is_stopped_and_found_out_and_not_for_ever(self, member, used):
        for _ in range(6):
            key, issued = member.renew()
            if used:
                member.birth(key, issued, LATE)
        assert refusal(member.renew) == ("too_many_certificates", 429)
        assert Finding.objects.get().kind == "renewal_loop"
        assert member.renew(key=key)[1] == issued, "what it was given before it gets again"
        member.renew(LATE + DAY + timedelta(seconds=1))

    def test_the_same_request_once_more_after_its_certificate_was_seen_is_answered_with_it(self, member):
        key, issued = member.renew()
        member.birth(key, issued, LATE)
        assert member.renew(LATE + DAY, key=key)[1] == issued
        assert Renewal.objects.count() == 1

    def test_an_issuing_ca_that_has_expired_signs_nothing_and_says_so(self, member):
        Certificate.objects.update(not_after=authorities.signer().certificate.not_valid_after_utc + DAY)
        late = authorities.signer().certificate.not_valid_after_utc + timedelta(seconds=1)
        assert refusal(member.renew, late) == ("authority_expired", 503)

    def test_nobody_is_asked_where_a_new_certificate_would_hardly_outlive_the_old_one(self, member):
        Authority.objects.filter(kind="issuing").update(not_after=member.certificate.not_after + 30 * DAY)
        assert renewals.plan(LATE) == 0
        Authority.objects.filter(kind="issuing").update(not_after=member.certificate.not_after + 40 * DAY)
        assert renewals.plan(LATE) == 1

    def test_a_revoked_device_cannot_renew(self, member):
        certificates.revoke(member.certificate, "stolen", None, LATE)
        assert refusal(member.renew) == ("no_certificate", 403)

    @pytest.mark.parametrize("state", ["quarantined", "decommissioned"])
    def test_nor_can_one_that_is_not_active(self, member, state):
        Device.objects.filter(pk=member.row.pk).update(state=state)
        assert refusal(member.renew) == ("device_not_active", 409)

    def test_a_key_of_another_device_is_refused_and_found_out(self, member):
        other = Member()
        assert refusal(member.renew, key=other.key) == ("key_reused", 409)
        assert Finding.objects.get(kind="key_reused").device == other.row
        assert Certificate.objects.filter(device=member.row).count() == 1


class TestProving:
    def test_the_old_one_goes_only_after_the_new_one_was_seen_and_the_overlap_is_over(self, member, settings):
        key, issued = member.renew()
        assert certificates.retire(LATE + 30 * DAY) == 0
        assert member.state() == "active"
        member.birth(key, issued, LATE)
        assert (issued.state, member.state(), the(member).state) == ("active", "retiring", "proven")
        assert member.certificate.replaced_by == issued
        assert certificates.retire(LATE + settings.CERTIFICATE_OVERLAP - timedelta(seconds=1)) == 0
        assert certificates.retire(LATE + settings.CERTIFICATE_OVERLAP) == 1
        assert (member.state(), member.certificate.reason) == ("retired", "superseded")
        assert Certificate.objects.revoked().get() == member.certificate
        assert Event.objects.get(kind="certificate.retired").device == member.row
        assert certificates.retire(LATE + 30 * DAY) == 0

    def test_a_device_that_falls_back_keeps_the_key_that_works(self, member, settings):
        key, issued = member.renew()
        member.birth(key, issued, LATE)
        member.birth(member.key, member.certificate, LATE + timedelta(minutes=1))
        assert certificates.retire(LATE + 10 * DAY) == 0
        assert (member.state(), member.state(issued)) == ("active", "active")
        assert Finding.objects.get().kind == "certificate_fell_back"
        member.birth(key, issued, LATE + timedelta(minutes=2))
        assert certificates.retire(LATE + 10 * DAY) == 1
        assert (member.state(), member.state(issued)) == ("retired", "active")

    def test_new_ones_that_were_never_used_go_with_the_old_one(self, member):
        lost = member.renew()[1]
        key, issued = member.renew()
        member.birth(key, issued, LATE)
        assert certificates.retire(LATE + DAY) == 2
        assert member.state(lost) == "retired"

    def test_a_retired_one_is_not_revived(self, member):
        key, issued = member.renew()
        member.birth(key, issued, LATE)
        certificates.retire(LATE + DAY)
        member.birth(member.key, member.certificate, LATE + 2 * DAY)
        assert member.state() == "retired"
        assert Finding.objects.get().kind == "revoked_certificate_used"

    def test_expired_ones_are_marked(self, member):
        assert certificates.expire(member.certificate.not_after) == 1
        assert member.state() == "expired"


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def together(self, count, work):
        barrier = threading.Barrier(count)

        def run(_):
            connection.ensure_connection()
            barrier.wait(10)
            return work()

        with workers(count) as team:
            return [each.result(30) for each in [worker.begin(run, n) for n, worker in enumerate(team)]]

    def test_two_workers_renewing_one_device_issue_one_certificate(self, member):
        request = member.request(pki.new_key())
        issued = self.together(4, lambda: renewals.renew(member.row.pk, request, LATE).serial)
        assert len(set(issued)) == 1
        assert (Certificate.objects.count(), Renewal.objects.count()) == (2, 1)

    def test_workers_ask_a_device_once(self, ca):
        members = [Member() for _ in range(5)]
        assert sum(self.together(3, lambda: renewals.plan(LATE))) >= 5
        asked = [each for told in self.together(3, lambda: asked_ids(LATE)) for each in told]
        assert sorted(asked) == sorted(member.row.device_id for member in members)

    def test_who_is_asked_while_its_renewal_is_issued_does_not_become_asked_again(self, member):
        """The request of a device that began by itself is processed while another worker chooses whom to ask."""
        renewals.plan(LATE)
        issued, go = threading.Event(), threading.Event()

        def answer():
            with transaction.atomic():
                renewals.renew(member.row.pk, member.request(pki.new_key()), LATE)
                issued.set()
                go.wait(30)

        with workers(2) as (control, asking):
            answering = control.begin(answer)
            assert issued.wait(10)
            assert asking(asked_ids, LATE) == [], "the row is taken; its turn comes again"
            go.set()
            answering.result(30)
        assert (the(member).state, the(member).attempts) == ("issued", 0)

    def test_workers_retire_a_certificate_once(self, member):
        key, issued = member.renew()
        member.birth(key, issued, LATE)
        assert sum(self.together(3, lambda: certificates.retire(LATE + DAY))) == 1
        assert Event.objects.filter(kind="certificate.retired").count() == 1


def test_a_plan_for_many_costs_as_many_queries_as_for_one(ca, django_assert_max_num_queries):
    for _ in range(20):
        Member()
    with django_assert_max_num_queries(5):
        assert renewals.plan(LATE) == 20
    with django_assert_max_num_queries(16):
        assert len(renewals.ask(LATE)) == 20
