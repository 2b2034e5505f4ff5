"""Which certificate is in use, what a revocation takes along, and the way back of an expired one."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices import certificates, contract, ingest, renewals
from devices.models import Device, Event, Finding, Presence, Renewal
from devices.registry import Incoming
from tests.devices import peers
from tests.devices.renewing import DAY, LATE, NOW, Member, refusal, the
from tests.factories import StaffFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def member(ca):
    return Member()


class TestInUse:
    """The certificate in use is the one proven last; what was issued and never seen counts for nothing."""

    def fail(self, member, now):
        """Let the open renewal be asked in vain until it is given up; returns when."""
        while Renewal.objects.filter(state__in=Renewal.OPEN).exists():
            now += DAY
            renewals.ask(now)
        return now

    def test_after_a_lost_answer_and_a_failed_renewal_the_device_is_asked_again(self, member):
        renewals.plan(LATE)
        renewals.ask(LATE)
        member.renew()
        now = self.fail(member, LATE)
        later = the(member).next_attempt_at
        assert now < later < member.certificate.not_after
        assert renewals.plan(later) == 1
        (asked,) = renewals.ask(later)
        assert asked.certificate == member.certificate

    def test_staff_ask_for_it_too(self, member):
        member.renew(NOW)
        Renewal.objects.update(state="failed", ended_at=NOW)
        renewals.request(Device.objects.all(), StaffFactory(), NOW)
        assert [each.certificate for each in renewals.ask(NOW)] == [member.certificate]

    def test_a_device_that_fell_back_is_asked_for_what_it_uses(self, member):
        key, issued = member.renew(NOW + DAY)
        member.birth(key, issued, NOW + DAY)
        member.birth(member.key, member.certificate, NOW + DAY + timedelta(minutes=5))
        assert renewals.plan(member.certificate.renew_at) == 1
        assert Renewal.objects.get(state="due").certificate == member.certificate

    def test_and_may_recover_with_it(self, member):
        key, issued = member.renew(NOW + DAY)
        member.birth(key, issued, NOW + DAY)
        member.birth(member.key, member.certificate, NOW + 2 * DAY)
        after = member.certificate.not_after + timedelta(minutes=1)
        assert issued.not_after > after
        assert member.renew(after, presented=member.certificate)

    def test_the_first_of_two_new_ones_proves_the_renewal_as_well(self, member):
        first, second = member.renew(), member.renew()
        assert the(member).successor == second[1]
        member.birth(*first, LATE)
        assert (the(member).state, the(member).successor) == ("proven", first[1])

    def test_one_that_is_used_after_all_ends_the_failure_and_its_finding(self, member):
        renewals.plan(LATE)
        renewals.ask(LATE)
        key, issued = member.renew()
        now = self.fail(member, LATE)
        assert Finding.objects.get(kind="renewal_failed").resolved_at is None
        member.birth(key, issued, now)
        assert the(member).state == "proven"
        assert Finding.objects.get(kind="renewal_failed").resolved_at == now

    def test_a_birth_that_comes_late_says_nothing_about_what_is_in_use(self, member):
        key, issued = member.renew(NOW + DAY)
        member.birth(key, issued, NOW + DAY)
        old = member.session
        member.birth(member.key, member.certificate, NOW + DAY + timedelta(minutes=5))
        late = NOW + DAY + timedelta(hours=3)
        member.birth(key, issued, late, session=old)
        assert certificates.retire(late + DAY) == 0
        assert member.state() == "active"

    def test_the_order_within_one_batch_counts(self, member):
        key, issued = member.renew()
        member.birth(member.key, member.certificate, LATE)
        member.birth(key, issued, LATE)
        assert certificates.retire(LATE + DAY) == 1
        assert member.state() == "retired"

    def test_an_overlap_begins_anew_with_each_return_to_the_new_one(self, member, settings):
        key, issued = member.renew()
        member.birth(key, issued, LATE)
        member.birth(member.key, member.certificate, LATE + timedelta(minutes=50))
        member.birth(key, issued, LATE + timedelta(minutes=70))
        assert certificates.retire(LATE + timedelta(minutes=71)) == 0
        assert certificates.retire(LATE + timedelta(minutes=70) + settings.CERTIFICATE_OVERLAP) == 1

    def test_a_device_that_lost_its_count_of_connects_comes_back_online_with_a_new_certificate(self, member):
        member.birth(member.key, member.certificate, NOW, session=500)
        key, issued = member.renew()
        member.birth(key, issued, LATE, session=1)
        row = Presence.objects.get(device=member.row)
        assert (row.online, row.session, issued.state) == (True, 1, "active")
        member.birth(key, issued, LATE, session=2)
        assert Presence.objects.get(device=member.row).session == 2

    def test_a_device_that_speaks_only_https_is_not_asked_over_mqtt(self, member):
        Presence.objects.filter(device=member.row).update(session=-1)
        renewals.plan(LATE)
        assert renewals.ask(LATE) == [] and the(member).attempts == 0


class TestRevoking:
    """Whoever has the key keeps no way back in."""

    def test_every_certificate_of_the_key_goes(self, member):
        _key, second = member.renew(NOW + DAY, key=member.key, presented=member.certificate)
        member.birth(member.key, second, NOW + DAY)
        certificates.revoke(second, "key stolen", None, NOW + DAY)
        assert (member.state(), member.state(second)) == ("revoked", "revoked")
        assert refusal(member.renew, NOW + DAY, presented=member.certificate) == ("no_certificate", 403)

    def test_what_was_asked_for_with_it_and_never_seen_goes_too(self, member):
        _key, thiefs = member.renew(NOW + DAY)
        certificates.revoke(member.certificate, "key stolen", None, NOW + DAY)
        assert member.state(thiefs) == "revoked"
        assert Event.objects.filter(kind="certificate.revoked").count() == 2

    def test_an_unused_new_one_can_go_alone(self, member):
        _key, lost = member.renew(NOW + DAY)
        certificates.revoke(lost, "never used", None, NOW + DAY)
        assert (member.state(), member.state(lost)) == ("active", "revoked")


class TestOverMqtt:
    """Findings are kept though what was refused is rolled back."""

    def say(self, member, request):
        device = member.row
        topic = contract.Topic(device.tenant.slug, device.device_type.slug, device.device_id, "certificate/csr")
        refused, _ = ingest.store_batch([Incoming(str(topic), request.encode(), 1)])
        return [each.reason for each in refused]

    def test_of_a_key_of_another_device(self, member):
        other = Member()
        assert self.say(member, peers.csr(other.key)) == ["key_reused"]
        assert Finding.objects.get(kind="key_reused").device == other.row

    def test_of_a_loop(self, member):
        for _ in range(5):  # and one when it was enrolled
            member.renew(timezone.now())
        assert self.say(member, peers.csr()) == ["too_many_certificates"]
        assert Finding.objects.get(kind="renewal_loop").device == member.row


class TestRecovering:
    """A device whose certificate expired while it was offline."""

    @pytest.fixture
    def expired(self, member):
        return member.certificate.not_after + DAY

    def test_its_last_certificate_is_good_for_a_new_one_within_the_grace_and_is_flagged(self, member, expired):
        certificates.expire(expired)
        key, issued = member.renew(expired, presented=member.certificate)
        member.birth(key, issued, expired)
        assert issued.state == "active"
        assert Finding.objects.get().kind == "expired_certificate_used"
        assert Event.objects.filter(kind="certificate.recovered").exists()

    def test_over_mqtt_it_is_not(self, member, expired):
        assert refusal(member.renew, expired) == ("no_certificate", 403)

    def test_after_the_grace_it_is_not(self, member, settings):
        late = member.certificate.not_after + settings.RECOVERY_GRACE + timedelta(seconds=1)
        assert refusal(member.renew, late, presented=member.certificate) == ("certificate_expired", 403)

    def test_one_that_was_revoked_or_whose_successor_was_seen_is_not(self, member, expired):
        key, issued = member.renew()
        member.birth(key, issued, LATE)
        assert refusal(member.renew, expired, presented=member.certificate) == ("certificate_expired", 403)
        certificates.revoke(issued, "stolen", None, LATE)
        assert refusal(member.renew, issued.not_after + DAY, presented=issued) == ("no_certificate", 403)
