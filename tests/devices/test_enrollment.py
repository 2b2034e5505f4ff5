import threading
from datetime import timedelta

import pytest
from cryptography import x509
from django.db import connection
from django.utils import timezone

from devices import certificates, claims, enrollment, pki
from devices.approvals import Waiting
from devices.errors import CertificateError, DomainError, ProvisioningError
from devices.models import Approval, Certificate, Claim, Device, Event, Finding, Presence
from tests.devices import peers
from tests.factories import DeviceTypeFactory, SiteFactory, TenantFactory, UserFactory
from tests.fleetportal.workers import workers

NOW = timezone.now()
HOUR = timedelta(hours=1)


@pytest.fixture
def kind(ca):
    return DeviceTypeFactory(slug="logger", name="Logger")


def join(token, hardware_id="hw-1", csr=None, kind="logger", now=None):
    claim = claims.of_token(token)
    return enrollment.enroll(claim, kind, hardware_id, (csr or peers.csr()).encode(), now or timezone.now())


def refusal(*args, **kwargs):
    with pytest.raises(DomainError) as error:
        join(*args, **kwargs)
    return error.value.code, error.value.status


def test_a_claim_and_a_request_make_a_device_with_an_identity(kind):
    tenant = TenantFactory()
    site = SiteFactory(tenant=tenant)
    key = pki.new_key()
    result = join(peers.claim_token(tenant, kind, site=site), csr=peers.csr(key))
    device, leaf = result.device, x509.load_pem_x509_certificate(result.certificate.pem.encode())
    assert (device.tenant, device.device_type, device.site, device.state) == (tenant, kind, site, "active")
    assert leaf.subject == pki.name(device.device_id)
    assert pki.key_fingerprint(leaf.public_key()) == pki.key_fingerprint(key.public_key())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(result.chain.encode()))
    assert (result.created, result.certificate.state) == (True, Certificate.State.PENDING)
    assert Presence.objects.get(device=device).online is False
    assert Event.objects.filter(device=device).values_list("kind", flat=True).count() == 2


def test_a_token_is_kept_as_a_hash_only(kind):
    token = peers.claim_token(device_type=kind)
    claim = claims.of_token(token)
    assert token not in str(Claim.objects.filter(pk=claim.pk).values().get())
    assert token.startswith("fpc_") and claim.prefix == token[:12]
    assert token not in str(list(Event.objects.values()))


@pytest.mark.parametrize("token", ["", "fpc_", "fpc_unknown", "x", "fpc_\0", "Bearer", "é" * 50])
def test_an_unknown_claim_is_refused(kind, token):
    assert refusal(token) == ("claim_unknown", 401)


def test_a_claim_whose_prefix_is_right_and_whose_rest_is_not_is_unknown(kind):
    token = peers.claim_token(device_type=kind)
    assert refusal(token[:-1] + ("a" if token[-1] != "a" else "b")) == ("claim_unknown", 401)
    assert refusal(token[:12]) == ("claim_unknown", 401)


def test_a_claim_admits_until_it_expires(kind):
    token = peers.claim_token(device_type=kind, now=NOW, lifetime=HOUR)
    assert join(token, now=NOW + HOUR - timedelta(seconds=1)).created
    assert refusal(token, "hw-2", now=NOW + HOUR) == ("claim_expired", 403)


def test_a_revoked_claim_admits_nobody(kind):
    token = peers.claim_token(device_type=kind)
    Claim.objects.update(revoked_at=NOW)
    assert refusal(token) == ("claim_revoked", 403)


def test_a_claim_is_for_one_type(kind):
    assert refusal(peers.claim_token(device_type=kind), kind="pump") == ("claim_other_type", 403)


def test_a_claim_with_a_list_admits_what_is_on_it(kind):
    token = peers.claim_token(device_type=kind, hardware_ids=["hw-1", "hw-2"])
    assert join(token, "hw-2").created
    assert refusal(token, "hw-3") == ("claim_other_hardware", 403)


def test_a_claim_admits_no_more_devices_than_it_was_made_for(kind):
    token = peers.claim_token(device_type=kind, max_devices=2)
    assert [join(token, f"hw-{n}").created for n in range(2)] == [True, True]
    assert refusal(token, "hw-2") == ("claim_used_up", 403)
    assert Device.objects.filter(device_type=kind).count() == 2


@pytest.mark.parametrize("hardware_id", ["", "h" * 101, "a\0b", "a\nb", "\u202egnp.exe"])
def test_a_hardware_id_is_short_and_printable(kind, hardware_id):
    assert refusal(peers.claim_token(device_type=kind), hardware_id) == ("hardware_id", 400)


def test_a_request_that_no_policy_admits_is_refused_and_costs_the_claim_nothing(kind):
    token = peers.claim_token(device_type=kind)
    assert refusal(token, csr="no request") == ("csr_refused", 400)
    assert Claim.objects.get().uses == 0
    assert not Device.objects.filter(device_type=kind).exists()


def test_asking_again_with_the_same_key_gets_the_same_certificate_and_costs_nothing(kind):
    token, csr = peers.claim_token(device_type=kind, max_devices=1), peers.csr()
    first, again = join(token, csr=csr), join(token, csr=csr)
    assert (again.device, again.certificate, again.chain) == (first.device, first.certificate, first.chain)
    assert (again.created, Claim.objects.get().uses, Certificate.objects.count()) == (False, 1, 1)


def test_a_revoked_key_is_never_trusted_again(kind):
    token, csr = peers.claim_token(device_type=kind), peers.csr()
    certificates.revoke(join(token, csr=csr).certificate, "stolen", None, NOW)
    assert refusal(token, csr=csr) == ("key_revoked", 409)
    assert not Approval.objects.exists()


def test_an_expired_certificate_is_not_handed_out_again(kind):
    token, csr = peers.claim_token(device_type=kind, lifetime=timedelta(days=1000)), peers.csr()
    join(token, csr=csr)
    waiting = join(token, csr=csr, now=timezone.now() + timedelta(days=366))
    assert isinstance(waiting, Waiting) and waiting.approval.cause == "new_key"


def test_anothers_hardware_id_cannot_be_taken_over_with_a_claim_of_ones_own(kind):
    csr = peers.csr()
    join(peers.claim_token(device_type=kind), csr=csr)
    thief = peers.claim_token(TenantFactory(), kind)
    assert refusal(thief, csr=csr) == ("hardware_id_taken", 409)
    assert Claim.objects.get(prefix=thief[:12]).uses == 0


@pytest.mark.parametrize("state", ["quarantined", "decommissioned"])
def test_a_device_that_is_not_active_gets_nothing(kind, state):
    token, csr = peers.claim_token(device_type=kind), peers.csr()
    join(token, csr=csr)
    Device.objects.filter(device_type=kind).update(state=state)
    assert refusal(token, csr=csr) == ("device_not_active", 409)


def test_a_key_of_another_device_is_refused_and_found_out(kind):
    token, csr = peers.claim_token(device_type=kind), peers.csr()
    first = join(token, csr=csr)
    assert refusal(token, "hw-2", csr=csr) == ("key_reused", 409)
    assert (Claim.objects.get().uses, Device.objects.filter(device_type=kind).count()) == (1, 1)
    finding = Finding.objects.get(kind="key_reused")  # kept though the enrolment was rolled back
    assert finding.device == first.device


def test_long_names_are_cut_rather_than_refused(ca):
    kind = DeviceTypeFactory(slug="long", name="N" * 200)
    device = join(peers.claim_token(device_type=kind), "h" * 100, kind="long").device
    assert len(device.name) == 200


def test_device_ids_are_minted_unlike_and_without_letters_that_look_alike(kind):
    token = peers.claim_token(device_type=kind)
    ids = {join(token, f"hw-{n}").device.device_id for n in range(20)}
    assert len(ids) == 20
    assert set("".join(each.removeprefix("d-") for each in ids)) & set("01ilo") == set()


def test_a_claim_remembers_who_made_it(kind):
    user = UserFactory(username="u" * 150)  # longer than an event's actor may be
    peers.claim_token(device_type=kind, user=user)
    assert Claim.objects.get().created_by == user
    assert Event.objects.get(kind="claim.made").actor == "u" * 100


def at_once(count, work):
    """Run `work(number)` on so many connections at the same moment; results and refusal codes."""
    together = threading.Barrier(count)

    def run(number):
        connection.ensure_connection()
        together.wait(10)
        try:
            return work(number)
        except (ProvisioningError, CertificateError) as error:
            return error.code

    with workers(count) as team:
        return [each.result(30) for each in [worker.begin(run, n) for n, worker in enumerate(team)]]


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_a_claim_limit_holds(self, kind):
        token = peers.claim_token(device_type=kind, max_devices=3)
        outcomes = at_once(8, lambda number: join(token, f"hw-{number}").created)
        assert sorted(map(str, outcomes)) == ["True"] * 3 + ["claim_used_up"] * 5
        assert (Claim.objects.get().uses, Device.objects.count()) == (3, 3)

    def test_one_device_asking_many_times_is_made_once(self, kind):
        token, csr = peers.claim_token(device_type=kind), peers.csr()
        outcomes = at_once(6, lambda _: join(token, csr=csr).device.device_id)
        device = Device.objects.get()
        assert set(outcomes) <= {device.device_id, "try_again"}
        assert join(token, csr=csr).device == device
        assert (Claim.objects.get().uses, Certificate.objects.count()) == (1, 1)

    def test_one_key_gets_one_device(self, kind):
        """Each with a claim of its own, as devices of one claim already wait for each other."""
        tokens, csr = [peers.claim_token(device_type=kind) for _ in range(6)], peers.csr()
        outcomes = at_once(6, lambda number: join(tokens[number], f"hw-{number}", csr=csr).created)
        assert sorted(map(str, outcomes)) == ["True"] + ["key_reused"] * 5
        assert (Device.objects.count(), Certificate.objects.count()) == (1, 1)
