"""What staff do to a device: quarantine, release, decommission, replace; and what its page tells of its identity."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import certificates, evidence, lifecycle
from devices.models import Certificate, Device, Event, Finding, Group
from tests.devices import identities
from tests.devices.desk import ON_DUTY, OTHERS, ROLES, Desk, queued, said, url
from tests.factories import DeviceFactory, DeviceTypeFactory, SiteFactory, StaffFactory, TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks, ca):
    queued()
    return lambda role="Fleet operator": Desk(client, django_capture_on_commit_callbacks, role)


@pytest.fixture
def device(ca):
    now = timezone.now()
    tenant, kind = TenantFactory(name="Acme"), DeviceTypeFactory()
    claim, _ = identities.make_claim(tenant, kind, "Batch 7", now, site=SiteFactory(tenant=tenant, name="Hamburg"))
    device = identities.join(claim, "hw-old", now)
    device.groups.add(Group.objects.create(tenant=tenant, name="Pilot"))
    certificates.seen(device.certificates.get(), "A birth", now)
    return device


def state(device):
    return Device.objects.values_list("state", flat=True).get(pk=device.pk)


class TestLife:
    @pytest.mark.parametrize("role", ON_DUTY)
    def test_each_step_asks_why_is_done_once_and_shuts_out_or_lets_in(self, desk, device, role):
        person = desk(role)
        steps = [
            ("quarantine", "quarantined", "device.quarantined", "They keep `status` and `cmd`"),
            ("release", "active", "device.released", "all their topics again"),
            ("decommission", "decommissioned", "device.decommissioned", "Certificates in use that are revoked: 1."),
        ]
        for action, after, kind, note in steps:
            before = state(device)
            question = person.act("device", action, device).content.decode()
            assert note in question
            assert f"{device} ({device.device_id}) of Acme" in question
            assert state(device) == before
            person.act("device", action, device, reason="Odd traffic")
            event = Event.objects.get(kind=kind)
            assert (state(device), event.user, event.reason) == (after, person.user, "Odd traffic")
            assert queued() == [("devices.tasks.shut_out", f"(['{device.device_id}'],)")]
            assert "0 done, 1 were not in a state for it" in said(person.act("device", action, device, reason="again"))
            assert Event.objects.filter(kind=kind).count() == 1
            assert queued() == []
        assert device.certificates.get().state == "revoked"

    @pytest.mark.parametrize("role", OTHERS)
    def test_is_refused_to_others(self, desk, device, role):
        person = desk(role)
        assert person.actions("device") == set()
        for action in ("quarantine", "decommission", "release"):
            person.act("device", action, device, reason="me, too")
        assert state(device) == "active"
        assert queued() == []

    def test_the_page_offers_what_is_possible_and_comes_back_to_it(self, desk, device):
        person = desk()
        page = person.page("device", "change", device.pk)
        offered = ("Quarantine…", "Release from quarantine…", "Decommission…", "Replace (RMA)…")
        assert [name in page for name in offered] == [True, False, True, True]
        question = person.act("device", "quarantine", device, back="page").content.decode()
        assert 'name="back"' in question
        response = person.act("device", "quarantine", device, reason="Odd", back="page")
        assert response["Location"] == url("device", "change", device.pk)
        page = person.page("device", "change", device.pk)
        assert [name in page for name in ("Quarantine…", "Release from quarantine…")] == [False, True]
        lifecycle.decommission(device, "", None, timezone.now())
        page = person.page("device", "change", device.pk)
        assert [name in page for name in ("Decommission…", "Replace (RMA)…")] == [False, False]

    @pytest.mark.parametrize("role", OTHERS)
    def test_the_page_offers_nothing_to_others(self, desk, device, role):
        page = desk(role).page("device", "change", device.pk)
        assert [name for name in ("Rotate", "Quarantine…", "Decommission…", "Replace (RMA)…") if name in page] == []


class TestReplacing:
    @pytest.mark.parametrize("role", ON_DUTY)
    def test_new_hardware_takes_the_place_of_the_old(self, desk, device, role):
        person = desk(role)
        page = person.page("device", "replace", device.pk)
        assert "its site (Hamburg), its groups (Pilot)" in page
        assert "1 certificate in use is revoked" in page
        told = {"hardware_id": " hw-new ", "reason": "Water damage"}
        response = person.post(url("device", "replace", device.pk), told)
        new = Device.objects.get(hardware_id="hw-new")
        assert response["Location"] == url("device", "change", new.pk)
        assert (new.replaces, new.state, new.site, new.name) == (device, "registered", device.site, device.name)
        assert [group.name for group in new.groups.all()] == ["Pilot"]
        assert state(device) == "decommissioned"
        assert queued() == [("devices.tasks.shut_out", f"(['{device.device_id}'],)")]
        event = Event.objects.get(kind="device.replaced")
        assert (event.user, event.reason) == (person.user, "Water damage")
        page = person.client.get(response["Location"]).content.decode()
        assert f'took the place of <a href="{url("device", "change", device.pk)}">{device.device_id}</a>' in page
        assert "It joins when it enrols with a claim." in page
        assert f'href="{url("device", "change", new.pk)}">{new.device_id}</a>' in person.page(
            "device", "change", device.pk
        )

    def test_hardware_that_joined_already_takes_over_at_once(self, desk, device):
        new = identities.join(device.claim, "hw-new", timezone.now())
        person = desk()
        response = person.post(url("device", "replace", device.pk), {"hardware_id": "hw-new", "reason": "RMA"})
        assert response["Location"] == url("device", "change", new.pk)
        assert "It had joined already" in said(response)
        assert state(new) == "active"
        assert queued() == [("devices.tasks.shut_out", f"(['{device.device_id}'],)")]

    def test_what_cannot_be_is_said_and_nothing_typed_is_lost(self, desk, device):
        DeviceFactory(device_type=device.device_type, hardware_id="hw-theirs")
        told = {"hardware_id": "hw-theirs", "reason": "Water damage, RMA 4711"}
        page = desk().post(url("device", "replace", device.pk), told)
        text = page.content.decode()
        assert page.status_code == 200
        assert "cannot take this device&#x27;s place" in text
        assert 'value="hw-theirs"' in text
        assert 'value="Water damage, RMA 4711"' in text
        assert state(device) == "active"
        assert queued() == []

    @pytest.mark.parametrize(
        ("told", "wrong"),
        [
            ({"hardware_id": "", "reason": "x"}, "hardware_id"),
            ({"hardware_id": "   ", "reason": "x"}, "hardware_id"),
            ({"hardware_id": "x" * 101, "reason": "x"}, "hardware_id"),
            ({"hardware_id": "a\x7fb", "reason": "x"}, "hardware_id"),
            ({"hardware_id": "hw-new", "reason": "  "}, "reason"),
        ],
    )
    def test_what_is_missing_or_no_hardware_id_is_said_at_its_field(self, desk, device, told, wrong):
        page = desk().post(url("device", "replace", device.pk), told)
        assert list(page.context["form"].errors) == [wrong]
        assert state(device) == "active"

    def test_is_done_once(self, desk, device):
        person, told = desk(), {"hardware_id": "hw-new", "reason": "RMA"}
        person.post(url("device", "replace", device.pk), told)
        again = person.post(url("device", "replace", device.pk), told)
        assert "This device was decommissioned before." in again.content.decode()
        assert Event.objects.filter(kind="device.replaced").count() == 1

    @pytest.mark.parametrize("role", OTHERS)
    def test_is_refused_to_others(self, desk, device, role):
        person = desk(role)
        assert person.client.get(url("device", "replace", device.pk)).status_code == 403
        told = {"hardware_id": "hw-new", "reason": "me, too"}
        assert person.post(url("device", "replace", device.pk), told).status_code == 403
        assert state(device) == "active"

    def test_a_device_that_is_not_there_is_not_found(self, desk, ca):
        assert desk().client.get(url("device", "replace", 10**9)).status_code == 404


class TestPage:
    def test_tells_how_it_joined_and_that_its_maker_vouches_for_it(self, desk, device):
        Device.objects.filter(pk=device.pk).update(attested=True)
        page = desk("Support").page("device", "change", device.pk)
        assert f'href="{url("claim", "change", device.claim.pk)}">Batch 7</a>' in page
        assert "Attested" in page

    def test_tells_of_an_open_renewal(self, desk, device):
        person = desk()
        assert "<dt>Renewal</dt>" not in person.page("device", "change", device.pk)
        person.act("device", "rotate", device, reason="now")
        row = device.renewals.get()
        assert url("renewal", "change", row.pk) in person.page("device", "change", device.pk)

    def test_the_certificates_panel_tells_the_whole_succession_newest_first(self, desk, device):
        now = timezone.now()
        Certificate.objects.filter(device=device).update(created_at=now - timedelta(days=300))
        new = identities.renew(device, now)
        person = desk("Support")
        panel = next(
            panel
            for panel in person.client.get(url("device", "change", device.pk)).context["panels"]
            if panel.slug == "certificates"
        )
        rows = list(panel.context["certificates"])
        assert [row.state for row in rows] == ["active", "retiring"]
        assert rows[1].replaced_by == new
        page = person.page("device", "change", device.pk)
        assert f"?device__id__exact={device.pk}" in page

    def test_costs_the_same_with_one_certificate_and_with_three(self, desk, device):
        person, costs = desk("Support"), []
        for each in range(3):
            person.page("device", "change", device.pk)
            with CaptureQueriesContext(connection) as queries:
                person.page("device", "change", device.pk)
            costs.append(len(queries))
            identities.renew(device, timezone.now() + timedelta(days=each))
        assert len(set(costs)) == 1

    def test_a_successors_page_leads_back_to_the_history_of_the_one_before(self, desk, device):
        new = lifecycle.replace(device, "hw-new", "RMA", None, timezone.now())
        page = desk("Support").page("device", "change", new.pk)
        assert f"{url('device', 'change', device.pk)}#certificates" in page


def test_the_roles_hold_the_rights_of_these_pages():
    """Who approves, rotates and replaces; who revokes; who only looks."""
    from django.contrib.auth.models import Group as Role  # noqa: PLC0415 (the other Group is a device's)

    held = {role: set(Role.objects.get(name=role).permissions.values_list("codename", flat=True)) for role in ROLES}
    decide = {"change_approval", "change_renewal", "add_claim", "change_claim"}
    assert {role for role in ROLES if decide <= held[role]} == set(ON_DUTY)
    assert {role for role in ROLES if held[role] & decide} == set(ON_DUTY)
    assert {role for role in ROLES if "change_certificate" in held[role]} == {"Security officer"}


def test_open_findings_stand_in_the_head_of_its_page(client):
    client.force_login(StaffFactory())
    device = DeviceFactory()
    evidence.find("flood", "7 messages were not taken <now>.", device_pk=device.pk)
    evidence.find("key_reused", "Done with.", device_pk=device.pk)
    Finding.objects.filter(kind="key_reused").update(resolved_at=timezone.now())
    page = client.get(url("device", "change", device.pk)).content.decode()
    assert 'class="verdict tone-warning"' in page
    assert "7 messages were not taken &lt;now&gt;." in page
    assert "Done with." not in page
