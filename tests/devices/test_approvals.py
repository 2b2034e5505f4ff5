"""Who waits for a person, what the person's answer does, and that nobody is asked twice or flooded."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from devices import approvals, certificates, claims, enrollment, pki
from devices.approvals import Waiting
from devices.errors import DomainError
from devices.models import Approval, Certificate, Claim, Device, Event
from tests.devices import peers
from tests.factories import DeviceTypeFactory, StaffFactory
from tests.fleetportal.workers import workers

pytestmark = pytest.mark.django_db


@pytest.fixture
def kind(ca):
    return DeviceTypeFactory(slug="logger")


@pytest.fixture
def token(kind):
    return peers.claim_token(device_type=kind, approve_by_hand=True, max_devices=2)


def join(token, hardware_id="hw-1", csr=None, now=None):
    csr = csr or peers.csr()
    return enrollment.enroll(claims.of_token(token), "logger", hardware_id, csr.encode(), now or timezone.now())


def refusal(*args, **kwargs):
    with pytest.raises(DomainError) as error:
        join(*args, **kwargs)
    return error.value.code, error.value.status


def decide(approve=True, reason="known serial"):
    return approvals.decide(
        Approval.objects.get(), approve=approve, user=StaffFactory(), reason=reason, now=timezone.now()
    )


def test_a_device_waits_and_costs_the_claim_nothing_until_it_is_approved(token):
    csr = peers.csr()
    first, again = join(token, csr=csr), join(token, csr=csr)
    assert isinstance(first, Waiting) and first.retry_seconds == 30
    assert first.approval == again.approval and Approval.objects.count() == 1
    assert (Claim.objects.get().uses, Device.objects.count()) == (0, 0)
    assert decide() is True
    enrolled = join(token, csr=csr)
    assert enrolled.created and Claim.objects.get().uses == 1
    row = Approval.objects.get()
    assert (row.certificate, row.device, row.cause) == (enrolled.certificate, enrolled.device, "claim")
    assert join(token, csr=csr).certificate == enrolled.certificate
    assert list(Event.objects.filter(kind__startswith="approval").values_list("kind", flat=True).order_by("pk")) == [
        "approval.asked",
        "approval.approved",
    ]


def test_a_rejected_device_is_told_so_and_why(token):
    csr = peers.csr()
    join(token, csr=csr)
    decide(approve=False, reason="not ours")
    assert refusal(token, csr=csr) == ("rejected", 403)
    assert Event.objects.get(kind="approval.rejected").reason == "not ours"


def test_somebody_decides_once(token):
    join(token)
    assert (decide(), decide(approve=False)) == (True, False)
    assert Approval.objects.get().state == "approved"


def test_an_approval_is_for_one_key(token):
    join(token)
    decide()
    assert isinstance(join(token), Waiting)


def test_a_leaked_token_cannot_fill_the_page(token):
    for number in range(22):  # two devices and twenty to spare
        assert isinstance(join(token, f"hw-{number}"), Waiting)
    assert refusal(token, "hw-22") == ("too_many_waiting", 429)


class TestNewKey:
    """A known device with a new key: after a repair, or because its certificate expired long ago."""

    @pytest.fixture
    def joined(self, kind):
        token = peers.claim_token(device_type=kind)
        return token, join(token)

    def test_waits_and_then_keeps_its_device_and_the_old_key_works_until_the_new_one_was_seen(self, joined):
        token, before = joined
        csr = peers.csr()
        assert isinstance(join(token, csr=csr), Waiting)
        assert Approval.objects.get().device == before.device
        decide()
        after = join(token, csr=csr)
        assert (after.device, after.created) == (before.device, False)
        assert (Claim.objects.get().uses, Device.objects.count()) == (1, 1)
        before.certificate.refresh_from_db()
        assert before.certificate.is_trusted(timezone.now())
        certificates.seen(after.certificate, "A test", timezone.now())
        before.certificate.refresh_from_db()
        assert (before.certificate.state, before.certificate.replaced_by) == ("retiring", after.certificate)

    def test_one_approval_gives_one_certificate(self, joined):
        token, _ = joined
        csr = peers.csr()
        join(token, csr=csr)
        decide()
        join(token, csr=csr)
        assert refusal(token, csr=csr, now=timezone.now() + timedelta(days=366)) == ("claim_expired", 403)
        Claim.objects.update(expires_at=timezone.now() + timedelta(days=1000))
        assert refusal(token, csr=csr, now=timezone.now() + timedelta(days=366)) == ("approval_used", 409)

    def test_few_wait_for_one_device(self, joined):
        token, _ = joined
        assert all(isinstance(join(token), Waiting) for _ in range(3))
        assert refusal(token) == ("too_many_waiting", 429)

    def test_nobody_is_asked_to_approve_anothers_key(self, joined):
        token, _ = joined
        key = peers.csr(pki.new_key())
        join(token, "hw-2", csr=key)
        assert refusal(token, csr=key) == ("key_reused", 409)
        assert not Approval.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_device_asking_many_times_at_once_waits_once(token):
    csr, together = peers.csr(), threading.Barrier(4)

    def run():
        connection.ensure_connection()
        together.wait(10)
        return type(join(token, csr=csr)).__name__

    with workers(4) as team:
        assert [each.result(30) for each in [worker.begin(run) for worker in team]] == ["Waiting"] * 4
    assert Approval.objects.count() == 1
    assert Certificate.objects.count() == 0
