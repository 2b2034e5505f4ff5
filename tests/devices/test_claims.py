"""Claims that are certificates, and those of a maker whose devices are born with one."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.db import IntegrityError, transaction
from django.utils import timezone

from devices import claims, pki
from devices.errors import ProvisioningError
from devices.models import Authority, Claim, Event
from tests.devices import peers
from tests.factories import DeviceTypeFactory, TenantFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
DAY = timedelta(days=1)


def make(kind, **changes):
    asked = {
        "tenant": TenantFactory(),
        "device_type": DeviceTypeFactory(),
        "name": "test",
        "max_devices": 5,
        "lifetime": 30 * DAY,
        "now": NOW,
        "kind": kind,
    }
    return claims.make_claim(**asked | changes)


class TestCertificate:
    def test_its_key_is_given_away_once_and_kept_nowhere(self, ca):
        claim, pem = make("certificate")
        key = serialization.load_pem_private_key(pem.encode(), None)
        leaf = x509.load_pem_x509_certificate(pem.encode())
        assert key.public_key() == leaf.public_key()
        assert leaf.subject == pki.name(claim.prefix) and claim.prefix.startswith("fpk_")
        root = Authority.objects.get(kind="claim")
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(root.certificate.encode()))
        assert abs(leaf.not_valid_after_utc - claim.expires_at) < timedelta(seconds=1)
        told = str(list(Claim.objects.values())) + str(list(Event.objects.values()))
        assert "PRIVATE KEY" in pem and "PRIVATE KEY" not in told

    def test_it_is_found_by_exactly_its_certificate(self, ca):
        claim, pem = make("certificate")
        make("certificate")
        assert claims.of_certificate(x509.load_pem_x509_certificate(pem.encode())) == claim
        signer = pki.new_key()
        like = pki.make_root(claim.prefix, signer, DAY, NOW)
        assert claims.of_certificate(like) is None

    def test_its_id_is_no_token(self, ca):
        claim, _ = make("certificate")
        with pytest.raises(ProvisioningError, match="not known"):
            claims.of_token(claim.prefix)


class TestMaker:
    KEY = pki.new_key()
    CA = pki.make_root("Chips Inc.", KEY, 1000 * DAY, NOW - DAY)

    @pytest.fixture
    def maker(self, ca):
        return Authority.objects.create(
            name="Chips Inc.",
            kind="maker",
            certificate=pki.pem(self.CA),
            key_backend="none",
            not_after=self.CA.not_valid_after_utc,
        )

    def born(self, ca=CA, key=KEY, now=NOW, lifetime=DAY):
        return pki.sign_device("serial-1", pki.new_key().public_key(), ca, key, lifetime, now)

    def test_it_has_no_secret_and_admits_what_its_maker_signed(self, maker):
        claim, secret = make("maker", maker=maker)
        assert secret == ""
        assert claims.of_maker(self.born(), "", "serial-1", NOW) == claim

    def test_not_what_another_signed_even_under_its_name(self, maker):
        make("maker", maker=maker)
        key = pki.new_key()
        assert claims.of_maker(self.born(pki.make_root("Chips Inc.", key, DAY, NOW), key), "", "serial-1", NOW) is None

    def test_nor_what_has_expired_or_is_not_valid_yet(self, maker):
        make("maker", maker=maker)
        born = self.born()
        assert claims.of_maker(born, "", "serial-1", NOW + DAY) is None
        assert claims.of_maker(born, "", "serial-1", NOW - DAY) is None

    def test_nor_after_the_claim_was_revoked_or_the_maker_switched_off(self, maker):
        claim, _ = make("maker", maker=maker)
        Authority.objects.filter(pk=maker.pk).update(active=False)
        assert claims.of_maker(self.born(), "", "serial-1", NOW) is None
        Authority.objects.filter(pk=maker.pk).update(active=True)
        Claim.objects.filter(pk=claim.pk).update(revoked_at=NOW)
        assert claims.of_maker(self.born(), "", "serial-1", NOW) is None

    def test_an_expired_claim_is_still_found_so_that_the_device_hears_why(self, maker):
        claim, _ = make("maker", maker=maker, lifetime=DAY)
        assert claims.of_maker(self.born(lifetime=9 * DAY), "", "serial-1", NOW + 2 * DAY) == claim

    def test_the_device_type_chooses_between_its_claims(self, maker):
        one, two = (make("maker", maker=maker)[0] for _ in range(2))
        assert claims.of_maker(self.born(), two.device_type.slug, "serial-1", NOW) == two
        assert claims.of_maker(self.born(), one.device_type.slug, "serial-1", NOW) == one
        with pytest.raises(ProvisioningError) as error:
            claims.of_maker(self.born(), "", "serial-1", NOW)
        assert error.value.code == "claim_ambiguous"

    def test_a_maker_has_no_place_among_the_issuing_authorities(self, maker):
        Authority.objects.create(
            name="Other", kind="maker", certificate=pki.pem(self.CA), key_backend="none", not_after=NOW
        )
        assert Authority.objects.filter(kind="maker", active=True).count() == 2


@pytest.mark.parametrize(
    "changes",
    [{"token_hash": ""}, {"kind": "certificate"}, {"kind": "maker"}, {"fingerprint": "ab"}],
    ids=str,
)
def test_a_claim_has_exactly_its_own_credential(ca, changes):
    peers.claim_token()
    with pytest.raises(IntegrityError, match="claim_has_its_credential"), transaction.atomic():
        Claim.objects.update(**changes)
