"""The pages of certificates and authorities: the list by time left, the chain, the history, revocation."""

from datetime import timedelta

import pytest
from cryptography import x509
from django.urls import reverse
from django.utils import timezone

from devices import broker, certificates, pki
from devices.models import Authority, Certificate, Event
from tests.devices import identities
from tests.devices.desk import ROLES, Desk, queued, url
from tests.factories import DeviceTypeFactory, TenantFactory, UserFactory

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks, ca):
    queued()
    return lambda role="Security officer": Desk(client, django_capture_on_commit_callbacks, role)


@pytest.fixture
def device(ca):
    """Joined 700 days ago, renewed twice, and about to use a third successor."""
    now = timezone.now()
    tenant, kind = TenantFactory(name="Acme"), DeviceTypeFactory()
    claim, _ = identities.make_claim(tenant, kind, "All", now - 800 * DAY, lifetime=2000 * DAY)
    device = identities.join(claim, "hw-1", now - 700 * DAY)
    certificates.seen(device.certificates.get(), "A birth", now - 700 * DAY)
    for ago in (430, 160):
        identities.renew(device, now - ago * DAY)
        certificates.retire(now - (ago - 1) * DAY)
    identities.renew(device, now, use=False)
    return device


def shown(desk, **query) -> list[Certificate]:
    return list(desk.client.get(url("certificate", "changelist"), query).context["cl"].result_list)


class TestList:
    def test_shows_what_is_in_use_by_its_end_and_all_the_rest_on_request(self, desk, device):
        first, second, third, coming = device.certificates.order_by("pk")
        person = desk("Support")
        assert shown(person) == [third, coming]
        assert shown(person, ends="all") == [first, second, third, coming]
        assert shown(person, ends="expired") == [first, second]
        assert shown(person, state__exact="retired") == [first, second]
        assert shown(person, q=first.serial) == [first]
        as_openssl = first.fingerprint.upper()
        assert shown(person, q=":".join(as_openssl[at : at + 2] for at in range(0, 64, 2))) == [first]
        assert len(shown(person, q=device.device_id)) == 4
        assert len(shown(person, device__id__exact=device.pk)) == 4

    def test_finds_what_ends_soon(self, desk, device):
        third = device.certificates.order_by("pk")[2]
        person = desk("Support")
        for days, found in ((6, {"7d", "30d", "90d"}), (29, {"30d", "90d"}), (89, {"90d"}), (91, set())):
            Certificate.objects.filter(pk=third.pk).update(not_after=timezone.now() + days * DAY)
            assert {ends for ends in ("7d", "30d", "90d") if shown(person, ends=ends)} == found

    def test_names_the_successor_and_says_whether_it_was_seen(self, desk, device):
        _, second, third, coming = device.certificates.order_by("pk")
        page = desk("Support").page("certificate", "changelist", query="?ends=all")
        assert f'href="{url("certificate", "change", third.pk)}"><code title="{third.serial}"' in page
        row = page.split(f'"{url("certificate", "change", third.pk)}?')[1].split("</tr>")[0]
        assert coming.serial in row
        assert "not seen yet" in row
        assert "not seen yet" not in page.split(f'"{url("certificate", "change", second.pk)}?')[1].split("</tr>")[0]


class TestPage:
    def test_shows_the_chain_up_to_the_root_and_that_it_was_verified(self, desk, device):
        certificate = device.certificates.order_by("pk")[2]
        told = desk("Support").client.get(url("certificate", "change", certificate.pk)).context["chain"]
        assert [link.role for link in told.links] == ["Device", "Issuing", "Root"]
        assert (told.tone, all(link.checked.verified for link in told.links)) == ("good", True)
        assert told.links[0].checked.facts.serial == certificate.serial
        assert told.links[1].checked.facts.serial == f"{authority(certificate.authority).serial_number:x}"

    def test_a_certificate_that_its_authority_did_not_sign_is_shown_as_broken(self, desk, device, ca):
        other = pki.make_root(ca.row.name, pki.new_key(), 900 * DAY, timezone.now())
        Authority.objects.filter(pk=ca.row.pk).update(certificate=pki.pem(other))
        page = desk("Support").client.get(url("certificate", "change", device.certificates.latest("pk").pk))
        assert page.context["chain"].tone == "bad"
        assert "NOT signed by" in page.content.decode()

    def test_one_that_expired_is_not_called_verified(self, desk, device):
        first = device.certificates.order_by("pk")[0]
        told = desk("Support").client.get(url("certificate", "change", first.pk)).context["chain"]
        assert (told.tone, "outside its dates" in told.verdict) == ("warning", True)

    def test_text_that_is_no_certificate_is_said_and_is_no_crash(self, desk, device, ca):
        Authority.objects.filter(pk=ca.row.pk).update(certificate="nonsense")
        person = desk("Support")
        for page in ("certificate", device.certificates.latest("pk").pk), ("authority", ca.row.pk):
            answer = person.client.get(url(page[0], "change", page[1]))
            assert answer.context["chain"].tone == "bad"
            assert "cannot be read" in answer.content.decode()

    def test_tells_what_came_before_and_after(self, desk, device):
        first, second, third, coming = device.certificates.order_by("pk")
        page = desk("Support").client.get(url("certificate", "change", third.pk))
        assert list(page.context["predecessors"]) == [second]
        assert {(row.certificate, row.successor) for row in page.context["renewals"]} == {
            (second, third), (third, coming),
        }  # fmt: skip
        kinds = [event.kind for event in page.context["events"]]
        assert kinds == ["certificate.proven", "certificate.issued"]
        assert first.serial not in page.content.decode()

    def test_the_pem_is_downloaded_alone_or_with_its_chain(self, desk, device):
        third = device.certificates.order_by("pk")[2]
        person = desk("Support")
        alone = person.client.get(url("certificate", "pem", third.pk))
        assert alone["Content-Type"] == "application/x-pem-file"
        assert alone["Content-Disposition"].startswith(f'attachment; filename="{device.device_id}-{third.serial[:12]}')
        assert alone.content.decode() == third.pem
        chain = x509.load_pem_x509_certificates(
            person.client.get(url("certificate", "pem", third.pk) + "?chain").content
        )
        chain[0].verify_directly_issued_by(chain[1])
        assert len(chain) == 2
        assert "PRIVATE" not in alone.content.decode()

    def test_is_not_for_people_without_the_right_and_not_for_rows_that_are_not_there(self, client, device):
        client.force_login(UserFactory(is_staff=True))
        pk = device.certificates.first().pk
        for page in ("change", "pem"):
            assert client.get(url("certificate", page, pk)).status_code == 403
        client.force_login(UserFactory(is_staff=True, is_superuser=True))
        assert client.get(url("certificate", "pem", 10**9)).status_code == 404


class TestRevoking:
    def test_asks_why_does_it_once_and_has_the_device_shut_out(self, desk, device):
        third = device.certificates.order_by("pk")[2]
        person = desk()
        assert "Revoke…" in person.page("certificate", "change", third.pk)
        assert "never trusted again" in person.act("certificate", "revoke", third).content.decode()
        response = person.act("certificate", "revoke", third, reason="Stolen", back="page")
        assert response["Location"] == url("certificate", "change", third.pk)
        third.refresh_from_db()
        assert (third.state, third.reason) == ("revoked", "Stolen")
        revoked = Event.objects.filter(kind="certificate.revoked", detail__serial=third.serial)
        event = revoked.get()
        assert (event.user, event.reason, event.device) == (person.user, "Stolen", device)
        assert queued() == [("devices.tasks.shut_out", f"(['{device.device_id}'],)")]
        person.act("certificate", "revoke", third, reason="again", query="?ends=all")
        assert revoked.count() == 1
        assert queued() == []
        assert "Revoke…" not in person.page("certificate", "change", third.pk)

    @pytest.mark.parametrize("role", [role for role in ROLES if role != "Security officer"])
    def test_is_refused_to_others(self, desk, device, role):
        person, third = desk(role), device.certificates.order_by("pk")[2]
        assert person.actions("certificate") == set()
        person.act("certificate", "revoke", third, reason="me, too")
        third.refresh_from_db()
        assert third.state == "active"
        assert "Revoke…" not in person.page("certificate", "change", third.pk)


class TestAuthorities:
    def test_the_list_counts_certificates_and_tells_of_the_revocation_list(self, desk, device):
        broker.write_all(timezone.now())
        ca = device.certificates.first().authority
        page = desk("Support").page("authority", "changelist")
        assert f'{url("certificate", "changelist")}?authority__id__exact={ca.pk}&amp;ends=all">4</a>' in page
        ca.refresh_from_db()
        assert f"number {ca.crl_number}, good until" in page
        assert reverse("crl", args=[ca.pk]) in page

    def test_an_authority_without_a_list_says_so(self, desk, ca):
        broker.withdraw_crl(ca.row.pk)
        assert "There is none yet" in desk("Support").page("authority", "changelist")
        broker.write_all(timezone.now())

    def test_a_page_shows_the_chain_and_never_where_the_key_is(self, desk, ca):
        page = desk("Security officer").client.get(url("authority", "change", ca.row.pk))
        assert [link.role for link in page.context["chain"].links] == ["Issuing", "Root"]
        assert page.context["chain"].tone == "good"
        text = page.content.decode()
        assert ca.row.key_name not in text
        assert "PRIVATE" not in text

    def test_a_makers_ca_below_a_root_we_do_not_know_is_said_to_be_so(self, desk, ca):
        maker = identities.maker("M", timezone.now())
        maker.certificate = ca.row.certificate
        maker.save()
        told = desk("Support").client.get(url("authority", "change", maker.pk)).context["chain"]
        assert (told.tone, "not kept here" in told.verdict) == ("warning", True)

    def test_the_certificate_is_downloaded(self, desk, ca):
        text = desk("Support").client.get(url("authority", "pem", ca.row.pk)).content.decode()
        assert text == ca.row.certificate


def authority(row: Authority) -> x509.Certificate:
    return x509.load_pem_x509_certificate(row.certificate.encode())
