"""The staff's pages of trusted keys: added with care, revoked with what that stops."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices.models import Event
from firmware.models import Campaign, TrustedKey
from tests.devices.desk import ROLES
from tests.factories import DeviceTypeFactory
from tests.firmware import fleet, signers
from tests.firmware.office import act, errors, offers, said, sit, url

pytestmark = pytest.mark.django_db
OTHERS = [role for role in ROLES if role != "Security officer"]


@pytest.fixture
def officer(client, ca):
    return sit(client, "Security officer")


def add(client, **told):
    now = timezone.now().replace(microsecond=0)
    usual = {
        "name": "build server", "public_key": signers.pem(signers.new_key()),
        "not_before_0": now.date(), "not_before_1": "00:00",
        "not_after_0": (now + timedelta(days=300)).date(), "not_after_1": "00:00",
    }  # fmt: skip
    return client.post(url("trustedkey", "add"), usual | told)


class TestAdding:
    @pytest.mark.parametrize("make", [signers.new_key, signers.new_ed25519])
    def test_a_pasted_key_is_trusted_for_what_was_chosen(self, client, officer, make):
        kind, pem = DeviceTypeFactory(), signers.pem(make())
        answer = add(client, public_key=pem.replace("\n", "\r\n") + "\r\n", device_types=[kind.pk])
        assert answer.status_code == 302, errors(answer)
        key = TrustedKey.objects.get()
        assert (key.public_key, list(key.device_types.all()), key.created_by) == (pem, [kind], officer)
        assert key.is_valid(timezone.now())
        assert Event.objects.filter(kind="firmware_key.trusted", user=officer).count() == 1

    @pytest.mark.parametrize(
        ("field", "told", "why"),
        [
            ("public_key", {"public_key": "nonsense"}, "Not a public key"),
            ("public_key", {"public_key": "-----BEGIN PRIVATE KEY-----"}, "private key"),
            ("not_after", {"not_after_0": "2020-01-01", "not_before_0": "2019-01-01"}, "has passed"),
            ("not_after", {"not_before_0": "2090-01-01"}, "end after it begins"),
            ("name", {"name": ""}, "required"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_wrong_is_said_where_it_is_wrong(self, client, officer, field, told, why):
        answer = add(client, **told)
        assert list(errors(answer)) == [field]
        assert why in errors(answer)[field]
        assert not TrustedKey.objects.exists()

    def test_a_key_is_known_once_even_when_it_was_revoked(self, client, officer):
        key = fleet.trusted_key("old laptop", revoked_at=timezone.now())
        answer = add(client, public_key=key.public_key)
        assert "known already, as old laptop, revoked on" in errors(answer)["public_key"]

    @pytest.mark.parametrize("role", OTHERS)
    def test_is_for_security_officers(self, client, ca, role):
        sit(client, role)
        assert client.get(url("trustedkey", "add")).status_code == 403
        assert add(client).status_code == 403


class TestRevoking:
    def test_the_question_says_what_stops_in_numbers(self, client, officer):
        fleet.rollout(3)
        key = TrustedKey.objects.get()
        fleet.campaign(fleet.release("3.0.0"), state="draft")
        page = act(client, "trustedkey", "revoke", key, reason="").content.decode()
        assert "Releases it signed: 2; signed by no other good key: 2." in page
        assert "paused at once: 1, with updates under way: 3." in page
        assert "cannot start any more: 1." in page
        assert key.fingerprint in page
        assert "Kept as evidence with your name." in page and "Whoever owns the device" not in page
        assert TrustedKey.objects.get().revoked_at is None

    def test_campaigns_that_nobody_else_vouches_for_are_paused_with_the_reason(self, client, officer):
        fleet.rollout(2, name="Week 47")
        other = fleet.campaign(fleet.release("3.0.0", key="second"), name="Another")
        answer = act(client, "trustedkey", "revoke", fleet.trusted_key(), reason="Laptop stolen", back="page")
        key = fleet.trusted_key()
        assert (key.revoked_by, key.reason) == (officer, "Laptop stolen")
        campaign = Campaign.objects.get(name="Week 47")
        assert (campaign.state, campaign.pause_reason) == ("paused", "operator")
        assert "Key build server was revoked: Laptop stolen" in campaign.state_reason
        assert "Paused: Week 47." in said(answer)
        assert Campaign.objects.get(pk=other.pk).state == "running"
        kinds = set(Event.objects.filter(user=officer).values_list("kind", flat=True))
        assert {"firmware_key.revoked", "campaign.pause"} <= kinds

    def test_a_second_signature_keeps_a_campaign_running(self, client, officer):
        (update,) = fleet.rollout(1)
        artifact, key = update.release.artifact, fleet.trusted_key("second")
        raw = fleet.sign(artifact.sha256, artifact.file_name, "second")
        artifact.signatures.create(key=key, signature=signers.base64.b64encode(raw).decode())
        page = act(client, "trustedkey", "revoke", fleet.trusted_key(), reason="").content.decode()
        assert "signed by no other good key: 0." in page
        act(client, "trustedkey", "revoke", fleet.trusted_key())
        assert Campaign.objects.get().state == "running"

    def test_a_key_is_revoked_once(self, client, officer):
        key = fleet.trusted_key()
        act(client, "trustedkey", "revoke", key)
        assert "0 done" in said(act(client, "trustedkey", "revoke", key, reason="again"))
        assert fleet.trusted_key().reason == "because"
        assert "Revoke…" not in client.get(url("trustedkey", "change", key.pk)).content.decode()

    @pytest.mark.parametrize("role", OTHERS)
    def test_is_for_security_officers(self, client, ca, role):
        key = fleet.trusted_key()
        sit(client, role)
        assert offers(client, "trustedkey") == set()
        act(client, "trustedkey", "revoke", key)
        assert fleet.trusted_key().revoked_at is None


def test_the_page_shows_key_scope_and_what_it_signed(client, officer):
    release = fleet.release("2.0.0")
    key = fleet.trusted_key()
    page = client.get(url("trustedkey", "change", key.pk)).content.decode()
    for text in (key.fingerprint, key.public_key.splitlines()[1], "All device types", release.artifact.file_name):
        assert text in page
    assert client.get(url("trustedkey", "pem", key.pk)).content.decode() == key.public_key
    assert client.post(url("trustedkey", "change", key.pk), {"name": "x"}).status_code == 403


def test_the_list_tells_states_apart(client, officer):
    now = timezone.now()
    fleet.trusted_key("good")
    fleet.trusted_key("soon", not_after=now + timedelta(days=9))
    fleet.trusted_key("over", not_after=now - timedelta(days=9))
    fleet.trusted_key("gone", revoked_at=now)
    fleet.trusted_key("later", not_before=now + timedelta(days=9))
    words = {"good": "Valid", "soon": "Ends soon", "over": "Expired", "gone": "Revoked", "later": "Not yet"}
    page = client.get(url("trustedkey")).content.decode()
    assert [word for word in words.values() if f">{word}</span>" not in page] == []
    for state, names in {"valid": {"good", "soon"}, "soon": {"soon"}, "expired": {"over"}, "revoked": {"gone"}}.items():
        found = client.get(url("trustedkey"), {"state": state}).context["cl"].result_list
        assert {key.name for key in found} == names
