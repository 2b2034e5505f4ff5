"""Trusted keys: what is believed, for what, until when; and what a revocation leaves without a voucher."""

import os
from pathlib import Path

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from devices.models import Event
from firmware import audits, files, trust
from firmware.errors import FirmwareError
from firmware.models import Release, Signature, TrustedKey, Verified
from tests.factories import DeviceTypeFactory, StaffFactory
from tests.firmware import fleet, signers
from tests.firmware.signers import DAY, NOW

pytestmark = pytest.mark.django_db
SHA = "ab" * 32


def refused(call, *args, **kwargs):
    with pytest.raises(FirmwareError) as error:
        call(*args, **kwargs)
    return error.value.status, error.value.code


@pytest.fixture
def key():
    return signers.new_key()


@pytest.fixture
def pump():
    return DeviceTypeFactory(slug="pump")


class TestAddingAKey:
    def test_is_written_down_with_who_did_it(self, key, pump):
        user = StaffFactory()
        row = trust.add_key(
            name="CI", public_key=signers.pem(key), device_types=[pump], not_before=NOW, not_after=NOW + DAY, user=user
        )
        assert (row.algorithm, row.created_by, list(row.device_types.all())) == ("ecdsa-p256", user, [pump])
        event = Event.objects.get(kind="firmware_key.trusted")
        assert (event.user, event.detail["fingerprint"], event.detail["device_types"]) == (
            user, row.fingerprint, ["pump"],
        )  # fmt: skip

    def test_takes_ed25519(self):
        assert signers.trusted(signers.new_ed25519()).algorithm == "ed25519"

    def test_refuses_what_is_no_public_key_and_validity_that_ends_before_it_begins(self, key):
        told = {"name": "x", "device_types": [], "not_before": NOW, "not_after": NOW + DAY, "user": None}
        assert refused(trust.add_key, public_key="nonsense", **told) == (400, "key_refused")
        told["not_after"] = NOW
        assert refused(trust.add_key, public_key=signers.pem(key), **told) == (400, "key_refused")
        assert not TrustedKey.objects.exists()

    def test_refuses_a_key_or_a_name_that_is_known(self, key):
        signers.trusted(key, "one")
        assert refused(signers.trusted, key, "two") == (409, "key_known")
        assert refused(signers.trusted, signers.new_key(), "one") == (409, "key_known")


class TestRevokingAKey:
    def test_happens_once_and_is_written_down(self, key):
        row, user = signers.trusted(key), StaffFactory()
        assert trust.revoke_key(row, user, "leaked", NOW)
        assert not trust.revoke_key(row, user, "again", NOW + DAY)
        row.refresh_from_db()
        assert (row.revoked_at, row.revoked_by, row.reason) == (NOW, user, "leaked")
        assert Event.objects.filter(kind="firmware_key.revoked").count() == 1

    def test_cannot_be_taken_back(self, key):
        row = signers.trusted(key)
        trust.revoke_key(row, None, "leaked", NOW)
        with pytest.raises(DatabaseError), transaction.atomic():
            TrustedKey.objects.update(revoked_at=None)

    def test_tells_the_campaigns_that_nobody_vouches_for_any_more(self):
        alone = fleet.release("2.0.0")
        both = fleet.release("3.0.0")
        other = fleet.trusted_key("second")
        signature = signers.cosign(fleet.private_key("second"), both.artifact.sha256, both.artifact.file_name)
        Signature.objects.create(artifact=both.artifact, key=other, signature=signature.decode().strip())
        states = ("running", "paused", "scheduled", "draft", "completed", "aborted")
        campaigns = {state: fleet.campaign(alone, state=state) for state in states}
        fleet.campaign(both)
        key = fleet.trusted_key()
        assert not trust.affected(key).exists()
        trust.revoke_key(key, None, "leaked", NOW)
        assert set(trust.affected(key)) == {campaigns[state] for state in ("running", "paused", "scheduled")}
        trust.revoke_key(other, None, "leaked", NOW)
        assert trust.affected(other).count() == 1


class TestCheckingARelease:
    def test_a_good_one_has_nothing_against_it(self):
        assert trust.check_release(fleet.release(), NOW) == []

    def test_expired_counts_until_it_was_approved_and_revoked_counts_for_ever(self):
        release = fleet.release()
        late = NOW + 1000 * DAY
        assert "expired" in trust.check_release(release, late)[0]
        assert "valid from" in trust.check_release(release, NOW - 100 * DAY)[0]
        assert trust.check_release(release, late, approved=True) == []
        trust.revoke_key(TrustedKey.objects.get(), None, "leaked", NOW)
        assert "revoked" in trust.check_release(release, late, approved=True)[0]

    def test_one_good_signature_is_enough(self):
        release = fleet.release()
        other = fleet.trusted_key("second", revoked_at=NOW)
        Signature.objects.create(artifact=release.artifact, key=other, signature="AAAA")
        assert trust.check_release(release, NOW) == []
        judged = trust.vouchers(release, NOW)
        assert [bool(each.against) for each in judged] == [False, True]

    def test_a_signature_that_does_not_fit_does_not_count(self):
        release = fleet.release(key="build server")
        Signature.objects.all().delete()
        bad = signers.cosign(fleet.private_key(), release.artifact.sha256, "another.bin").decode().strip()
        Signature.objects.create(artifact=release.artifact, key=fleet.trusted_key(), signature=bad)
        assert "does not fit" in trust.check_release(release, NOW)[0]

    def test_nobody_signed_it(self):
        release = fleet.release()
        Signature.objects.all().delete()
        assert trust.check_release(release, NOW) == ["Nobody has signed it."]

    def test_a_scope_covers_all_device_types_or_nothing(self, pump):
        valve = DeviceTypeFactory()
        release = fleet.release("2.0.0", pump, valve)
        fleet.trusted_key().device_types.set([pump])
        assert "device types" in trust.check_release(release, NOW)[0]
        fleet.trusted_key().device_types.set([pump, valve])
        assert trust.check_release(release, NOW) == []

    def test_the_file_must_be_there_in_its_full_length(self):
        release = fleet.release(data=b"123456789")
        assert trust.verify_stored(release) == []
        path = Path(files.store().path(files.name(release.artifact.sha256)))
        os.truncate(path, 5)
        assert "cut short" in trust.check_release(release, NOW)[0]
        assert trust.verify_stored(release)
        path.unlink()
        assert "missing" in trust.check_release(release, NOW)[0]
        assert "missing" in trust.verify_stored(release)[0]

    def test_one_without_a_file_and_one_that_cannot_be_read(self, monkeypatch):
        class Broken:
            def __enter__(self):
                return self

            def __exit__(self, *args):
                pass

            def read(self, size):
                raise OSError(5, "Input/output error")

        assert trust.check_release(Release.objects.create(version="1.0.0"), NOW) == ["It has no file."]
        monkeypatch.setattr(files, "open_file", lambda _: Broken())
        assert "Input/output error" in trust.verify_stored(fleet.release())[0]

    def test_a_changed_byte_is_found_by_reading_all(self):
        release = fleet.release(data=b"123456789")
        path = Path(files.store().path(files.name(release.artifact.sha256)))
        with path.open("r+b") as file:
            file.write(b"X")
        assert trust.check_release(release, NOW) == []
        assert "changed" in trust.verify_stored(release)[0]


class TestJudgingSignatures:
    def test_openssl_and_cosign_and_both_algorithms(self, key, pump, tmp_path):
        edward = signers.new_ed25519()
        rows = [signers.trusted(key, "p256"), signers.trusted(edward, "ed25519")]
        for make in (signers.raw, signers.cosign, lambda k, *told: signers.openssl(k, tmp_path, *told)):
            signatures = [make(key, SHA, "a.bin"), make(edward, SHA, "a.bin")]
            assert list(trust.judge(SHA, "a.bin", signatures, [pump], NOW)) == rows

    def test_the_same_key_twice_counts_once(self, key, pump):
        row = signers.trusted(key)
        twice = [signers.raw(key, SHA, "a.bin"), signers.cosign(key, SHA, "a.bin")]
        assert list(trust.judge(SHA, "a.bin", twice, [pump], NOW)) == [row]

    def test_what_is_not_good_says_why(self, key, pump):
        row = signers.trusted(key, types=[DeviceTypeFactory()])
        good = signers.raw(key, SHA, "a.bin")

        def code(*signatures, now=NOW, name="a.bin", sha256=SHA):
            return refused(trust.judge, sha256, name, signatures, [pump], now)[1]

        assert code() == "unsigned"
        assert code(b"") == code(b"no base64!") == code(b"x" * 2000) == "signature_unknown"
        assert code(signers.raw(signers.new_key(), SHA, "a.bin")) == "signature_unknown"
        assert code(good, name="b.bin") == code(good, sha256="cd" * 32) == "signature_unknown"
        assert code(good) == "signature_out_of_scope"
        assert code(good, now=NOW + 999 * DAY) == code(good, now=NOW - 99 * DAY) == "signature_expired"
        assert code(*[good] * 11) == "signature_unknown"
        trust.revoke_key(row, None, "leaked", NOW)
        assert code(good) == "signature_revoked"

    def test_one_bad_among_good_ones_spoils_all(self, key, pump):
        signers.trusted(key)
        both = [signers.raw(key, SHA, "a.bin"), signers.raw(signers.new_key(), SHA, "a.bin")]
        assert refused(trust.judge, SHA, "a.bin", both, [pump], NOW) == (400, "signature_unknown")


class TestAudits:
    def found(self, look, now=NOW):
        return [(each.kind, each.severity) for each in look(now)]

    def test_a_release_in_use_that_nobody_vouches_for(self):
        release = fleet.release()
        trust.revoke_key(fleet.trusted_key(), None, "leaked", NOW)
        assert self.found(audits.unsigned) == []
        device = fleet.devices(1, release)[0]
        Verified.objects.create(device=device, version="2.0.0", release=release, verified_at=NOW)
        assert self.found(audits.unsigned) == [("firmware_unsigned", "warning")]
        fleet.campaign(release)
        fleet.campaign(fleet.release("3.0.0", key="another"))
        assert self.found(audits.unsigned) == [("firmware_unsigned", "critical")]

    def test_a_key_that_runs_out_and_is_not_followed(self, pump):
        valve = DeviceTypeFactory()
        signers.trusted(signers.new_key(), "old", [pump], until=NOW + 20 * DAY)
        assert self.found(audits.expiring) == [("firmware_key_expiring", "warning")]
        assert self.found(audits.expiring, NOW - 20 * DAY) == []
        assert self.found(audits.expiring, NOW + 20 * DAY) == [("firmware_key_expiring", "critical")]
        signers.trusted(signers.new_key(), "of another type", [valve])
        assert len(self.found(audits.expiring)) == 1
        signers.trusted(signers.new_key(), "next", [pump])
        assert self.found(audits.expiring) == []
        signers.trusted(signers.new_key(), "for all", until=NOW + 20 * DAY)
        assert len(self.found(audits.expiring)) == 1, "keys of single types do not follow one for all"
        signers.trusted(signers.new_key(), "for all, next")
        assert self.found(audits.expiring) == []

    def test_revoked_keys_are_no_concern(self):
        trust.revoke_key(signers.trusted(signers.new_key(), until=NOW + DAY), None, "x", timezone.now())
        assert self.found(audits.expiring) == []
        assert trust.valid_keys(NOW) == []
