"""The approvals page: who waits, why, and a decision that is made once and is evidence."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from devices import certificates, enrollment, pki
from devices.models import Approval, Event
from tests.devices import identities, peers
from tests.devices.desk import ON_DUTY, OTHERS, Desk, said, url
from tests.factories import DeviceTypeFactory, TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks, ca):
    return lambda role="Security officer": Desk(client, django_capture_on_commit_callbacks, role)


@pytest.fixture
def claim(ca):
    tenant, kind = TenantFactory(name="Acme"), DeviceTypeFactory(name="Pump")
    return identities.make_claim(tenant, kind, "Field", timezone.now() - timedelta(days=9), approve_by_hand=True)[0]


@pytest.fixture
def new_key(ca):
    """A known device that comes with a new key."""
    now = timezone.now()
    claim, _ = identities.make_claim(TenantFactory(name="Acme"), DeviceTypeFactory(), "All", now)
    device = identities.join(claim, "hw-known", now)
    certificates.seen(device.certificates.get(), "A birth", now)
    return identities.ask_to_join(claim, "hw-known", now)


class TestList:
    def test_those_that_wait_come_first_the_longest_waiting_at_the_top(self, desk, claim):
        now = timezone.now()
        hours = {"fresh": 1, "old": 5, "decided": 9, "decided last": 3}
        rows = {name: identities.ask_to_join(claim, name, now - timedelta(hours=ago)) for name, ago in hours.items()}
        person = desk()
        person.act("approval", "reject", rows["decided"], rows["decided last"], reason="unknown")
        shown = person.client.get(url("approval", "changelist")).context["cl"].result_list
        assert [row.hardware_id for row in shown] == ["old", "fresh", "decided last", "decided"]

    def test_a_new_key_of_a_known_device_stands_out_with_what_it_would_replace(self, desk, new_key):
        page = desk("Support").page("approval", "changelist")
        device = new_key.device
        assert "New key" in page
        assert url("device", "change", device.pk) in page
        assert f'replaces <code title="{device.certificates.get().serial}"' in page

    def test_the_dashboard_counts_those_that_wait(self, desk, claim):
        identities.ask_to_join(claim, "a", timezone.now())
        tiles = desk("Support").client.get(reverse("admin:index")).context["tiles"]
        tile = next(tile for tile in tiles if tile.label == "Waiting for approval")
        assert (tile.figure, tile.tone) == (1, "warning")


class TestPage:
    def test_shows_the_request_and_no_way_to_change_it(self, desk, claim):
        key = pki.new_key()
        row = identities.ask_to_join(claim, "hw-1", timezone.now(), key)
        page = desk("Support").page("approval", "change", row.pk)
        fingerprint = pki.key_fingerprint(key.public_key()).upper()
        assert ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)) in page
        assert "CN=whatever" in page
        assert "P-256, 256 bits" in page
        assert "-----BEGIN CERTIFICATE REQUEST-----" in page
        assert '<input type="text"' not in page.split('id="content"')[1]

    def test_warns_of_a_device_that_is_online_with_its_present_key(self, desk, new_key):
        person = desk()
        presence = new_key.device.presence
        assert "Approve only when somebody reset" in person.page("approval", "change", new_key.pk)
        presence.online = True
        presence.save()
        page = person.page("approval", "change", new_key.pk)
        assert "may be an impostor" in page
        assert new_key.device.certificates.get().serial in page

    def test_tells_of_a_known_device_whose_certificate_is_gone(self, desk, new_key):
        certificates.revoke(new_key.device.certificates.get(), "lost", None, timezone.now())
        assert "It has no certificate in use now" in desk().page("approval", "change", new_key.pk)


class TestDecision:
    @pytest.mark.parametrize("role", ON_DUTY)
    def test_an_approved_device_gets_its_certificate_when_it_asks_again(self, desk, claim, role):
        key, person = pki.new_key(), desk(role)
        row = identities.ask_to_join(claim, "hw-1", timezone.now(), key)
        question = person.act("approval", "approve", row).content.decode()
        assert "hw-1: Pump of Acme, claim Field" in question
        row.refresh_from_db()
        assert row.state == "pending"
        assert "Approve: 1 done." in said(person.act("approval", "approve", row, reason="Seen on my bench"))
        row.refresh_from_db()
        assert (row.state, row.decided_by, row.reason) == ("approved", person.user, "Seen on my bench")
        event = Event.objects.get(kind="approval.approved")
        assert (event.user, event.reason, event.tenant) == (person.user, "Seen on my bench", claim.tenant)
        result = enrollment.enroll(claim, claim.device_type.slug, "hw-1", peers.csr(key).encode(), timezone.now())
        assert result.created
        page = person.page("approval", "change", row.pk)
        assert "Seen on my bench" in page
        assert url("certificate", "change", result.certificate.pk) in page

    def test_a_rejected_device_is_refused_with_the_reason(self, desk, claim):
        key = pki.new_key()
        row = identities.ask_to_join(claim, "hw-1", timezone.now(), key)
        desk().act("approval", "reject", row, reason="Not ours")
        with pytest.raises(enrollment.ProvisioningError, match="Not ours"):
            enrollment.enroll(claim, claim.device_type.slug, "hw-1", peers.csr(key).encode(), timezone.now())
        assert Event.objects.get(kind="approval.rejected").reason == "Not ours"

    def test_a_decision_is_made_once(self, desk, claim):
        row = identities.ask_to_join(claim, "hw-1", timezone.now())
        person = desk()
        person.act("approval", "approve", row, reason="yes")
        told = said(person.act("approval", "reject", row, reason="no"))
        assert "0 done, 1 were not in a state for it." in told
        row.refresh_from_db()
        assert (row.state, row.reason) == ("approved", "yes")
        assert Event.objects.filter(kind__in=["approval.approved", "approval.rejected"]).count() == 1
        assert "Reject…" not in person.page("approval", "change", row.pk)

    def test_the_question_says_what_a_new_key_means(self, desk, new_key):
        question = desk().act("approval", "approve", new_key).content.decode()
        assert f"hw-known: a new key for {new_key.device} ({new_key.device.device_id}) of Acme" in question
        assert "New keys of known devices among them: 1." in question

    def test_without_a_reason_nothing_happens(self, desk, claim):
        row = identities.ask_to_join(claim, "hw-1", timezone.now())
        page = desk().act("approval", "approve", row, confirmed="yes")
        assert "Say why" in page.content.decode()
        assert Approval.objects.get().state == "pending"

    @pytest.mark.parametrize("role", OTHERS)
    def test_is_refused_to_others(self, desk, claim, role):
        row = identities.ask_to_join(claim, "hw-1", timezone.now())
        person = desk(role)
        assert person.actions("approval") == set()
        for action in ("approve", "reject"):
            person.act("approval", action, row, reason="me, too")
        assert Approval.objects.get().state == "pending"
        assert "Approve…" not in person.page("approval", "change", row.pk)
