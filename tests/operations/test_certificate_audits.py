"""Each audit: it fires, it keeps quiet, it ends."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.utils import timezone

from devices import broker, certificates, pki
from devices.models import Authority, Certificate, Device
from operations import certificate_audits
from operations.models import CheckedKey
from tests.factories import DeviceFactory

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
RSA_2048 = rsa.generate_private_key(65537, 2048)


class TestExpiring:
    def test_one_without_a_successor_grows_worse_and_ends_with_its_successor(self, certificate, audited):
        now = timezone.now()
        row = certificate(renew_at=now - 30 * DAY, not_after=now + 70 * DAY)
        key = ("certificate_expiring", row.device_id, "")
        assert audited("certificates-expiring") == {key: "warning"}
        assert audited("certificates-expiring", now + 30 * DAY) == {key: "critical"}
        certificate(row.device)
        assert audited("certificates-expiring") == {}

    def test_in_time_or_long_over_or_revoked_is_none(self, certificate, audited):
        now = timezone.now()
        certificate(renew_at=now - DAY, not_after=now + 99 * DAY)
        certificate(renew_at=now + DAY, not_after=now + 99 * DAY)
        certificate(renew_at=now - 99 * DAY, not_after=now - DAY)
        gone = certificate(renew_at=now - 30 * DAY, not_after=now + 70 * DAY)
        certificates.revoke(gone, "x", None, now)
        assert audited("certificates-expiring") == {}

    def test_a_device_out_of_service_is_none_and_a_quarantined_one_is(self, certificate, audited):
        now = timezone.now()
        over, held = (certificate(renew_at=now - 30 * DAY, not_after=now + 70 * DAY) for _ in range(2))
        Device.objects.filter(pk=over.device_id).update(state="decommissioned")
        Device.objects.filter(pk=held.device_id).update(state="quarantined")
        assert audited("certificates-expiring") == {("certificate_expiring", held.device_id, ""): "warning"}


class TestExpired:
    def test_a_device_without_any_valid_one_until_it_has_one(self, certificate, audited):
        now = timezone.now()
        row = certificate(not_after=now - DAY)
        assert audited("certificates-expired") == {("certificate_expired", row.device_id, ""): "critical"}
        certificate(row.device)
        assert audited("certificates-expired") == {}

    def test_a_device_that_never_had_one_or_has_ended_is_none(self, certificate, audited):
        DeviceFactory()
        row = certificate(not_after=timezone.now() - DAY)
        Device.objects.filter(pk=row.device_id).update(state="decommissioned")
        certificates.revoke(certificate(not_after=timezone.now() - DAY), "x", None, timezone.now())
        assert audited("certificates-expired") == {}


class TestSharedKeys:
    def test_both_devices_until_one_is_revoked(self, certificate, audited):
        one = certificate()
        other = certificate(key_fingerprint=one.key_fingerprint)
        keys = {("key_shared", each.device_id, ""): "critical" for each in (one, other)}
        assert audited("shared-keys") == keys
        certificates.revoke(other, "x", None, timezone.now())
        assert audited("shared-keys") == {}

    def test_one_device_may_keep_its_key(self, certificate, audited):
        key = pki.new_key()
        row = certificate(key=key)
        certificate(row.device, key)
        assert audited("shared-keys") == {}


class TestWeakKeys:
    def test_short_rsa_is_told_once_for_all_until_none_is_left(self, certificate, audited):
        rows = [certificate(key=RSA_2048)]
        rows.append(certificate(rows[0].device, RSA_2048))
        assert audited("weak-keys") == {("weak_key", None, "RSA"): "info"}
        assert set(CheckedKey.objects.values_list("algorithm", "bits")) == {("RSA", 2048)}
        Certificate.objects.filter(pk__in=[row.pk for row in rows]).update(not_after=timezone.now())
        assert audited("weak-keys") == {}

    def test_a_key_below_what_is_accepted_is_critical_until_it_is_gone(self, certificate, audited):
        row = certificate(key=ec.generate_private_key(ec.SECP224R1()))  # as if an older version had admitted it
        assert audited("weak-keys") == {("weak_key", row.device_id, row.serial): "critical"}
        certificates.revoke(row, "x", None, timezone.now())
        assert audited("weak-keys") == {}

    def test_good_keys_are_none(self, certificate, audited):
        certificate()
        certificate(key=ec.generate_private_key(ec.SECP384R1()))
        assert audited("weak-keys") == {}

    def test_each_is_parsed_once(self, certificate, monkeypatch):
        monkeypatch.setattr(certificate_audits, "CHECK_BATCH", 2)
        rows = [certificate() for _ in range(5)]
        Certificate.objects.filter(pk=rows[0].pk).update(not_after=timezone.now())
        assert certificate_audits.check_keys(timezone.now()) == 4
        assert certificate_audits.check_keys(timezone.now()) == 0

    def test_what_cannot_be_parsed_is_told_and_does_not_stop_the_rest(self, certificate, audited):
        broken, _good = certificate(pem="nothing"), certificate()
        assert audited("weak-keys") == {("weak_key", broken.device_id, broken.serial): "critical"}


class TestAuthorities:
    def test_one_that_ends_soon_until_another_takes_over(self, ca, audited, settings):
        now, key = timezone.now(), ("ca_expiring", None, ca.row.name)
        assert audited("authorities") == {}
        assert audited("authorities", ca.row.not_after - settings.CERTIFICATE_LIFETIME * 1.5)[key] == "warning"
        assert audited("authorities", ca.row.not_after - settings.CERTIFICATE_LIFETIME / 2)[key] == "critical"
        Authority.objects.filter(pk=ca.row.pk).update(active=False)
        assert audited("authorities", ca.row.not_after - 5 * DAY) == {}
        Authority.objects.filter(pk=ca.row.pk).update(active=True)
        assert audited("authorities", now) == {}

    def test_a_short_lifetime_wants_less(self, ca, audited, settings):
        settings.CERTIFICATE_LIFETIME = 10 * DAY
        assert audited("authorities", ca.row.not_after - 91 * DAY) == {}


class TestFiles:
    """The broker's files, as the portal writes them and as they look when it has stopped."""

    @pytest.fixture(autouse=True)
    def _folder(self, ca, settings, tmp_path):
        settings.BROKER_DIRECTORY = tmp_path
        self.now = timezone.now()
        broker.write_all(self.now)

    def test_revocation_lists_that_nobody_rewrites(self, audited):
        assert audited("revocation-lists") == {}
        old, ending = ("crl_old", None, ""), ("crl_expiring", None, "")
        assert audited("revocation-lists", self.now + timedelta(hours=4)) == {old: "warning"}
        assert audited("revocation-lists", self.now + 5.5 * DAY) == {old: "warning", ending: "warning"}
        assert audited("revocation-lists", self.now + 6.5 * DAY) == {old: "warning", ending: "critical"}
        broker.write_all(self.now + 6.5 * DAY)
        assert audited("revocation-lists", self.now + 6.5 * DAY) == {}

    def test_a_missing_list(self, ca, audited):
        broker.withdraw_crl(ca.row.pk)
        assert audited("revocation-lists") == {("crl_expiring", None, ""): "critical"}

    def test_the_brokers_certificate(self, audited):
        key = ("server_certificate_expiring", None, "")
        assert audited("server-certificate") == {}
        assert audited("server-certificate", self.now + 75 * DAY) == {key: "warning"}
        assert audited("server-certificate", self.now + 89 * DAY) == {key: "critical"}
        broker.write_all(self.now + 75 * DAY)
        assert audited("server-certificate", self.now + 75 * DAY) == {}
