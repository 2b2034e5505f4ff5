"""The claims pages: three kinds, a secret shown once and kept nowhere, use that can be seen."""

import re
from datetime import timedelta
from html import unescape

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import authorities, claims
from devices.models import Authority, Claim, Event
from tests.devices import identities
from tests.devices.desk import ON_DUTY, OTHERS, Desk, said, url
from tests.factories import DeviceTypeFactory, SiteFactory, TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks, ca):
    return lambda role="Fleet operator": Desk(client, django_capture_on_commit_callbacks, role)


def form(**changes):
    """What somebody types."""
    expires = changes.pop("expires", timezone.now() + timedelta(days=7))
    told = {
        "name": "Batch 7",
        "tenant": TenantFactory().pk,
        "device_type": DeviceTypeFactory().pk,
        "kind": "token",
        "max_devices": 3,
        "hardware_ids": "",
        "expires_at_0": f"{expires:%Y-%m-%d}",
        "expires_at_1": f"{expires:%H:%M:%S}",
    }
    return told | changes


def secret_of(page) -> str:
    return unescape(re.search(r'<pre[^>]*id="secret"[^>]*>(.*?)</pre>', page.content.decode(), re.DOTALL)[1])


def errors_of(page) -> dict:
    return {field: list(texts) for field, texts in page.context["adminform"].errors.items()}


class TestMaking:
    @pytest.mark.parametrize("role", ON_DUTY)
    def test_a_tokens_only_appearance_is_the_answer_to_the_form(self, desk, role):
        person = desk(role)
        page = person.post(url("claim", "add"), form(hardware_ids="a, b\nb\r\n c c "))
        claim, token = Claim.objects.get(), secret_of(page)
        assert page.status_code == 200
        assert "no-store" in page["Cache-Control"]
        assert claims.of_token(token) == claim
        assert (claim.created_by, claim.max_devices, claim.hardware_ids) == (person.user, 3, ["a", "b", "c c"])
        assert (Event.objects.get(kind="claim.made").user, claim.approve_by_hand) == (person.user, False)
        self.is_nowhere(person, token[13:], page)

    def test_a_certificates_key_and_chain_are_shown_once_and_fit(self, desk):
        person = desk()
        page = person.post(url("claim", "add"), form(kind="certificate", approve_by_hand="on"))
        claim, bundle = Claim.objects.get(), secret_of(page)
        key = serialization.load_pem_private_key(bundle.encode(), None)
        leaf = x509.load_pem_x509_certificate(bundle[bundle.index("-----BEGIN CERT") :].encode())
        assert key.public_key() == leaf.public_key()
        assert claims.of_certificate(leaf) == claim
        leaf.verify_directly_issued_by(authorities.signer(Authority.Kind.CLAIM).certificate)
        assert claim.approve_by_hand
        assert f'data-name="{claim.prefix}.pem"' in page.content.decode()
        self.is_nowhere(person, bundle.splitlines()[1], page)

    def is_nowhere(self, person, secret, page):
        """Not in a cookie, a session, a log, an event, or another page."""
        kept = [str(page.cookies), str(person.client.cookies)]
        kept += [str(session.get_decoded()) for session in Session.objects.all()]
        kept += [f"{row.object_repr} {row.change_message}" for row in LogEntry.objects.all()]
        kept += [str(row.detail) for row in Event.objects.all()]
        claim = Claim.objects.get()
        kept += [person.page("claim", "change", claim.pk), person.page("claim", "changelist")]
        kept += [str(vars(claim))]
        assert [text for text in kept if secret in text] == []
        assert said(page) == ""

    def test_a_makers_claim_has_no_secret_and_leads_to_the_list(self, desk):
        maker = identities.maker("Borealis Chips CA", timezone.now())
        page = desk().post(url("claim", "add"), form(kind="maker", maker=maker.pk))
        assert (page.status_code, page["Location"]) == (302, url("claim", "changelist"))
        assert (Claim.objects.get().maker, Claim.objects.get().kind) == (maker, "maker")

    @pytest.mark.parametrize("role", OTHERS)
    def test_is_refused_to_others(self, desk, role):
        person = desk(role)
        assert person.client.get(url("claim", "add")).status_code == 403
        assert person.post(url("claim", "add"), form()).status_code == 403
        assert not Claim.objects.exists()


class TestMistakes:
    def refused(self, desk, **changes) -> dict:
        page = desk().post(url("claim", "add"), form(**changes))
        assert page.status_code == 200
        assert not Claim.objects.exists()
        assert "Batch 7" in page.content.decode()  # what was typed is still there
        return errors_of(page)

    def test_an_expiry_in_the_past(self, desk):
        found = self.refused(desk, expires=timezone.now() - timedelta(minutes=1))
        assert found == {"expires_at": ["This moment has passed: nobody could join. Times are in UTC."]}

    def test_a_makers_claim_without_a_maker(self, desk):
        assert self.refused(desk, kind="maker") == {"maker": ["Choose the maker whose devices may join."]}

    @pytest.mark.parametrize("kind", ["token", "certificate"])
    def test_a_maker_where_none_belongs(self, desk, kind):
        maker = identities.maker("M", timezone.now())
        found = self.refused(desk, kind=kind, maker=maker.pk)
        assert found == {"maker": ["A maker belongs only to a claim of the kind Maker's CA: leave it empty."]}

    def test_an_authority_of_ours_is_no_maker(self, desk, ca):
        assert "maker" in self.refused(desk, kind="maker", maker=ca.row.pk)

    def test_a_maker_that_is_no_longer_trusted(self, desk, ca):
        maker = identities.maker("M", timezone.now())
        Authority.objects.filter(pk=maker.pk).update(active=False)
        assert "maker" in self.refused(desk, kind="maker", maker=maker.pk)

    def test_an_expiry_after_the_end_of_the_maker(self, desk, ca):
        maker = identities.maker("M", timezone.now())
        found = self.refused(desk, kind="maker", maker=maker.pk, expires=maker.not_after + timedelta(days=1))
        assert found == {"expires_at": [f"M ends before, on {maker.not_after:%Y-%m-%d}."]}

    def test_a_claim_for_nobody(self, desk):
        assert self.refused(desk, max_devices=0) == {"max_devices": ["At least one device must be able to join by it."]}

    def test_a_serial_that_no_device_could_have(self, desk):
        assert "hardware_ids" in self.refused(desk, hardware_ids="x" * 101)
        assert "hardware_ids" in self.refused(desk, hardware_ids="a\x7fb")

    def test_a_site_of_another_tenant(self, desk):
        assert "site" in self.refused(desk, site=SiteFactory().pk)

    def test_a_claim_root_whose_key_is_not_here(self, desk, ca):
        Authority.objects.filter(kind="claim").update(key_name="gone")
        found = self.refused(desk, kind="certificate")
        assert found["kind"][0].startswith("No claim certificate can be made now: ")


class TestUse:
    def test_the_page_lists_who_joined_and_who_waits(self, desk):
        now = timezone.now()
        claim, _ = identities.make_claim(TenantFactory(), DeviceTypeFactory(), "Open", now, max_devices=4)
        device = identities.join(claim, "hw-1", now)
        waits = identities.ask_to_join(claim, "hw-1", now)
        claim.refresh_from_db()
        page = desk("Support").page("claim", "change", claim.pk)
        assert url("device", "change", device.pk) in page
        assert url("approval", "change", waits.pk) in page
        assert '<meter min="0" max="4" value="1"' in page
        assert claim.token_hash not in page

    def test_the_page_costs_the_same_with_one_device_and_with_three(self, desk):
        claim, _ = identities.make_claim(TenantFactory(), DeviceTypeFactory(), "Open", timezone.now(), max_devices=4)
        person, costs = desk("Support"), []
        for each in range(3):
            identities.join(claim, f"hw-{each}", timezone.now())
            person.page("claim", "change", claim.pk)
            with CaptureQueriesContext(connection) as queries:
                person.page("claim", "change", claim.pk)
            costs.append(len(queries))
        assert len(set(costs)) == 1

    def test_a_claim_certificate_is_shown_with_its_chain(self, desk):
        claim, _ = identities.make_claim(TenantFactory(), DeviceTypeFactory(), "C", timezone.now(), kind="certificate")
        page = desk("Support").client.get(url("claim", "change", claim.pk))
        assert [link.role for link in page.context["chain"].links] == ["Claim", "Claim root"]
        assert page.context["chain"].tone == "good"

    def test_the_state_filter_tells_the_same_as_the_badge(self, desk):
        now = timezone.now()
        tenant, kind = TenantFactory(), DeviceTypeFactory()
        identities.make_claim(tenant, kind, "active", now)
        identities.make_claim(tenant, kind, "expired", now - timedelta(days=90))
        used, _ = identities.make_claim(tenant, kind, "used", now, max_devices=1)
        identities.join(used, "hw-1", now)
        gone, _ = identities.make_claim(tenant, kind, "revoked", now - timedelta(days=90))
        claims.revoke(gone, "", None, now)
        person = desk("Support")
        words = {"active": "Active", "expired": "Expired", "used": "Used up", "revoked": "Revoked"}
        for name, word in words.items():
            found = person.client.get(url("claim", "changelist"), {"state": name})
            assert [row.name for row in found.context["cl"].result_list] == [name]
            assert f"{word}</span>" in found.content.decode().split('id="result_list"')[1]


class TestRevoking:
    @pytest.mark.parametrize("role", ON_DUTY)
    def test_asks_why_does_it_once_and_is_evidence(self, desk, role):
        claim, _ = identities.make_claim(TenantFactory(), DeviceTypeFactory(), "Lost", timezone.now())
        person = desk(role)
        assert (
            "Those that have joined keep their certificates." in person.act("claim", "revoke", claim).content.decode()
        )
        assert "1 done" in said(person.act("claim", "revoke", claim, reason="Token on a slide"))
        claim.refresh_from_db()
        assert claim.refusal("hw", claim.device_type.slug, timezone.now())[0] == "claim_revoked"
        event = Event.objects.get(kind="claim.revoked")
        assert (event.user, event.reason, event.detail) == (person.user, "Token on a slide", {"claim": claim.prefix})
        before = claim.revoked_at
        assert "0 done" in said(person.act("claim", "revoke", claim, reason="again"))
        claim.refresh_from_db()
        assert claim.revoked_at == before
        assert Event.objects.filter(kind="claim.revoked").count() == 1

    @pytest.mark.parametrize("role", OTHERS)
    def test_is_refused_to_others(self, desk, role):
        claim, _ = identities.make_claim(TenantFactory(), DeviceTypeFactory(), "Kept", timezone.now())
        person = desk(role)
        assert person.actions("claim") == set()
        person.act("claim", "revoke", claim, reason="me, too")
        claim.refresh_from_db()
        assert claim.revoked_at is None

    @pytest.mark.parametrize("role", ON_DUTY)
    def test_a_claim_that_is_out_is_not_edited(self, desk, role):
        claim, _ = identities.make_claim(TenantFactory(), DeviceTypeFactory(), "Kept", timezone.now())
        assert desk(role).post(url("claim", "change", claim.pk), form(name="Other")).status_code == 403
