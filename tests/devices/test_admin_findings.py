"""What staff do about findings: resolve, suppress, and deal with the cause."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from devices import certificates, claims, evidence, pki
from devices.models import Certificate, Claim, Device, Event, Finding, Suppression
from tests.devices import peers
from tests.factories import DeviceFactory, StaffFactory
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
LIST, SUPPRESSIONS = (reverse(f"admin:devices_{name}_changelist") for name in ("finding", "suppression"))
ADD = reverse("admin:devices_suppression_add")
ACTIONS = ["resolve", "suppress", "quarantine", "revoke", "freeze"]


@pytest.fixture
def officer(client):
    user = world.staff("Security officer")
    client.force_login(user)
    return user


@pytest.fixture
def finding(ca):
    claim = claims.of_token(peers.claim_token())
    device = DeviceFactory(claim=claim, tenant=claim.tenant, device_type=claim.device_type)
    for _ in range(2):
        certificates.issue(device, pki.read_request(peers.csr().encode()), timezone.now())
    evidence.find("key_reused", "x", device_pk=device.pk)
    return Finding.objects.select_related("device").get()


@pytest.fixture
def shut_out(monkeypatch):
    """Which devices were to be shut out after the commit."""
    told = []
    monkeypatch.setattr("devices.admin.shutting_out.shut_out.delay", told.extend)
    return told


@pytest.fixture
def act(client, django_capture_on_commit_callbacks):
    def post(action, *rows, **told):
        with django_capture_on_commit_callbacks(execute=True):
            return client.post(LIST, {"action": action, "_selected_action": [row.pk for row in rows], **told})

    return post


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_asks_for_a_reason_and_does_nothing_without(officer, finding, act, shut_out, action):
    page = act(action, finding)
    assert 'name="reason"' in page.content.decode()
    finding.refresh_from_db()
    assert (finding.resolved_at, finding.device.state, shut_out) == (None, "active", [])
    assert not Suppression.objects.exists()
    assert not Claim.objects.filter(revoked_at__isnull=False).exists()
    assert not Certificate.objects.filter(revoked_at__isnull=False).exists()


def test_it_is_resolved_with_a_reason(officer, finding, act):
    act("resolve", finding, reason="told the customer")
    finding.refresh_from_db()
    assert finding.resolved_at is not None
    event = Event.objects.get(kind="finding.resolved")
    assert (event.user, event.reason) == (officer, "told the customer")


def test_its_device_is_quarantined_and_shut_out(officer, finding, act, shut_out):
    act("quarantine", finding, reason="suspect")
    device = Device.objects.get(pk=finding.device_id)
    assert (device.state, shut_out) == ("quarantined", [device.device_id])
    assert Event.objects.get(kind="device.quarantined").user == officer
    act("quarantine", finding, reason="again")
    assert len(shut_out) == 1


def test_all_valid_certificates_of_its_device_are_revoked(officer, finding, act, shut_out):
    act("revoke", finding, reason="stolen")
    assert set(Certificate.objects.values_list("state", "reason")) == {("revoked", "stolen")}
    assert Event.objects.filter(kind="certificate.revoked", user=officer).count() == 2
    assert shut_out == [finding.device.device_id]


def test_the_claim_it_joined_by_is_frozen(officer, finding, act, shut_out):
    act("freeze", finding, reason="leaked")
    assert Claim.objects.get().revoked_at is not None
    event = Event.objects.get(kind="claim.revoked")
    assert (event.user, event.reason) == (officer, "leaked")
    assert (Device.objects.get(pk=finding.device_id).state, shut_out) == ("active", [])


def test_the_claim_a_finding_is_about_is_frozen(officer, finding, act):
    claim = Claim.objects.get()
    evidence.find("claim_old", "x", subject=claim.prefix)
    act("freeze", Finding.objects.get(kind="claim_old"), reason="too old")
    claim.refresh_from_db()
    assert claim.revoked_at is not None


def test_a_finding_about_no_device_leaves_devices_alone(officer, act, shut_out):
    evidence.find("crl_old", "x")
    row = Finding.objects.get()
    for action in ("quarantine", "revoke", "freeze"):
        page = act(action, row, reason="x")
        assert page.status_code == 302
    assert shut_out == []


class TestSuppressing:
    def test_for_some_days(self, officer, finding, act, client):
        act("suppress", finding, reason="known", days="14")
        row = Suppression.objects.get()
        assert (row.kind, row.device_id, row.subject) == ("key_reused", finding.device_id, "")
        assert (row.reason, row.created_by) == ("known", officer)
        assert timedelta(days=13) < row.expires_at - timezone.now() <= timedelta(days=14)
        finding.refresh_from_db()
        assert finding.resolved_at is not None
        evidence.find("key_reused", "x", device_pk=finding.device_id)
        assert Finding.objects.count() == 1
        assert "Suppressed" in client.get(LIST).content.decode()

    @pytest.mark.parametrize("days", ["", "0", "-3", "366", "1e9", "soon", "99999999999999999999"])
    def test_not_without_an_end_that_is_near_enough(self, officer, finding, act, days):
        assert act("suppress", finding, reason="known", days=days).status_code == 302
        assert not Suppression.objects.exists()

    def test_on_its_own_page(self, officer, finding, client):
        until = timezone.now() + timedelta(days=20)
        told = {"kind": "key_reused", "device": "", "subject": "", "reason": "known"}
        told |= {"expires_at_0": f"{until:%Y-%m-%d}", "expires_at_1": "12:00:00"}
        assert client.post(ADD, told).status_code == 302
        row = Suppression.objects.get()
        assert (row.created_by, row.device, row.reason) == (officer, None, "known")
        assert Event.objects.get(kind="finding.suppressed").user == officer
        finding.refresh_from_db()
        assert finding.resolved_at is not None

    @pytest.mark.parametrize(
        "wrong", [{"expires_at_0": "2000-01-01"}, {"expires_at_0": "2999-01-01"}, {"reason": " "}, {"kind": "no_such"}]
    )
    def test_not_a_wrong_one(self, officer, client, wrong):
        until = timezone.now() + timedelta(days=20)
        told = {"kind": "key_reused", "device": "", "subject": "", "reason": "known"}
        told |= {"expires_at_0": f"{until:%Y-%m-%d}", "expires_at_1": "12:00:00"}
        page = client.post(ADD, told | wrong)
        assert page.status_code == 200
        assert page.context["errors"]
        assert not Suppression.objects.exists()

    def test_it_is_not_edited_only_ended(self, officer, client):
        row = Suppression.objects.create(kind="a", reason="x", expires_at=timezone.now() + timedelta(days=9))
        change = reverse("admin:devices_suppression_change", args=[row.pk])
        assert client.post(change, {"reason": "other"}).status_code == 403
        told = {"action": "end", "_selected_action": [row.pk]}
        assert 'name="reason"' in client.post(SUPPRESSIONS, told).content.decode()
        client.post(SUPPRESSIONS, told | {"reason": "fixed"})
        row.refresh_from_db()
        assert row.expires_at <= timezone.now()
        assert Event.objects.get(kind="suppression.ended").user == officer


@pytest.mark.parametrize(
    ("role", "wanted"),
    [
        ("Security officer", {"resolve", "suppress", "quarantine", "revoke", "freeze"}),
        ("Fleet operator", {"resolve", "quarantine", "freeze"}),
        ("Support", set()),
        ("Firmware author", set()),
    ],
)
def test_each_role_may_do_what_it_may_do_elsewhere(client, finding, act, shut_out, role, wanted):
    client.force_login(world.staff(role))
    page = client.get(LIST).content.decode()
    assert {action for action in ACTIONS if f'value="{action}"' in page} == wanted
    for action in set(ACTIONS) - wanted:
        act(action, finding, reason="x", days="3")
    finding.refresh_from_db()
    assert (finding.resolved_at, finding.device.state, Suppression.objects.count()) == (None, "active", 0)
    assert shut_out == []
    assert (client.get(ADD).status_code == 200) == ("suppress" in wanted)


def test_the_list_names_the_runbook_and_filters_what_is_open_by_severity_and_kind(client, finding):
    client.force_login(StaffFactory())
    assert 'href="/admin/runbooks/compromised-device.md"' in client.get(LIST).content.decode()
    evidence.find("acl_broad", "y", severity="critical")
    page = client.get(LIST, {"resolved_at__isempty": "1", "severity__exact": "critical", "kind": "acl_broad"})
    assert [row.kind for row in page.context["cl"].result_list] == ["acl_broad"]


def test_kinds_are_words_in_the_list_and_as_they_are_in_the_file(client, finding):
    client.force_login(StaffFactory())
    told = client.get(LIST).content.decode()
    assert ">Key reused</a>" in told and ">key_reused<" not in told
    file = b"".join(client.get(f"{LIST}list.csv").streaming_content).decode()
    assert "key_reused" in file and finding.device.name in file


def test_the_tile_is_red_when_any_is_critical(client, finding):
    client.force_login(StaffFactory())
    assert _tone(client) == "warning"
    evidence.find("acl_broad", "y", severity="critical")
    assert _tone(client) == "bad"
    Finding.objects.update(resolved_at=timezone.now())
    assert _tone(client) == "neutral"


def _tone(client):
    cache.clear()
    tiles = client.get(reverse("admin:index")).context["tiles"]
    return {tile.label: tile.tone for tile in tiles}["Open findings"]
