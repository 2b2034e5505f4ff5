"""Releases: whole or not at all, signed or not at all, once for ever; and put away only when nobody needs them."""

import hashlib
import json
import threading
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from devices.models import Event
from firmware import artifacts, releases, sboms, trust
from firmware.errors import FirmwareError
from firmware.models import Artifact, Compatibility, Release, Signature, Update, Verified
from tests.factories import DeviceTypeFactory, StaffFactory, TenantFactory
from tests.firmware import fleet, signers
from tests.firmware.signers import DAY, NOW

pytestmark = pytest.mark.django_db
DATA = b"firmware " * 1000
SHA = hashlib.sha256(DATA).hexdigest()
CYCLONEDX = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}).encode()
SPDX = json.dumps({"spdxVersion": "SPDX-2.3", "packages": []}).encode()


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    """A store of its own."""
    settings.FIRMWARE_DIRECTORY = tmp_path / "store"
    options = {"location": str(settings.FIRMWARE_DIRECTORY)}
    settings.STORAGES = settings.STORAGES | {"firmware": settings.STORAGES["firmware"] | {"OPTIONS": options}}
    return settings.FIRMWARE_DIRECTORY


@pytest.fixture
def key():
    made = signers.new_key()
    signers.trusted(made)
    return made


@pytest.fixture
def pump():
    return DeviceTypeFactory(slug="pump")


def files():
    return [path for path in Path(settings.FIRMWARE_DIRECTORY).rglob("*") if path.is_file()]


def draft(*types, version="1.4.0", file_name="pump.bin", **told):
    return releases.Draft(version, types, file_name, **told)


def upload(key, *types, data=DATA, signatures=None, **told):
    """As a build server does it right, but for what is told."""
    extra = {name: told.pop(name) for name in ("sbom", "user", "uploaded_by") if name in told}
    made = draft(*types, **told)
    if signatures is None:
        signatures = [signers.raw(key, hashlib.sha256(data).hexdigest(), made.file_name)]
    return releases.upload(made, [data[:5], data[5:]], signatures, NOW, **extra)


def refused(call, *args, **kwargs):
    """The code; and nothing has come of it."""
    before = (Release.objects.count(), Artifact.objects.count(), len(files()), Event.objects.count())
    with pytest.raises(FirmwareError) as error:
        call(*args, **kwargs)
    assert (Release.objects.count(), Artifact.objects.count(), len(files()), Event.objects.count()) == before
    return error.value.code


class TestUploading:
    def test_keeps_everything_that_was_told(self, key, pump):
        valve, tenant, user = DeviceTypeFactory(slug="valve"), TenantFactory(), StaffFactory()
        row = upload(
            key, pump, valve, min_version="1.0.0", notes="New.", tenants=[tenant], min_battery_percent=30,
            needs_mains=True, min_free_bytes=2**33, sbom=CYCLONEDX, user=user,
        )  # fmt: skip
        row = Release.objects.get(pk=row.pk)
        assert (row.version, row.min_version, row.notes, row.state) == ("1.4.0", "1.0.0", "New.", "ready")
        assert (row.min_battery_percent, row.needs_mains, row.min_free_bytes) == (30, True, 2**33)
        assert (set(row.device_types.all()), list(row.tenants.all())) == ({pump, valve}, [tenant])
        assert (row.artifact.sha256, row.artifact.size, row.artifact.file_name) == (SHA, len(DATA), "pump.bin")
        assert (row.sbom_name, row.sbom_sha256) == ("sbom.cdx.json", hashlib.sha256(CYCLONEDX).hexdigest())
        assert artifacts.open_file(SHA).read() == DATA
        assert trust.check_release(row, NOW) == trust.verify_stored(row) == []
        event = Event.objects.get(kind="release.uploaded")
        assert (event.user, event.detail["sha256"], event.detail["device_types"]) == (user, SHA, ["pump", "valve"])

    def test_by_a_build_server_names_its_token(self, key, pump):
        row = upload(key, pump, uploaded_by="CI")
        assert (row.uploaded_by, row.created_by, Event.objects.get(kind="release.uploaded").actor) == ("CI", None, "CI")

    def test_keeps_every_signer_once(self, key, pump):
        other = signers.new_ed25519()
        signers.trusted(other, "second")
        signatures = [make(each, SHA, "pump.bin") for make in (signers.raw, signers.cosign) for each in (key, other)]
        row = upload(key, pump, signatures=signatures)
        assert sorted(row.artifact.signatures.values_list("key__name", flat=True)) == ["build server", "second"]

    def test_the_same_bytes_may_be_two_releases(self, key, pump):
        upload(key, pump)
        upload(key, pump, version="1.4.1")
        upload(key, DeviceTypeFactory())
        assert (Release.objects.count(), len(files())) == (3, 1)

    def test_the_same_again_finds_the_first(self, key, pump):
        first = upload(key, pump, sbom=CYCLONEDX)
        with pytest.raises(releases.AlreadyThereError) as error:
            upload(key, pump)
        assert error.value.release == first

    def test_a_version_of_a_type_is_taken_for_ever(self, key, pump):
        valve = DeviceTypeFactory()
        releases.archive(upload(key, pump), None, "old", NOW)
        assert refused(upload, key, pump, data=b"other") == "version_taken"
        assert refused(upload, key, pump, file_name="other.bin") == "version_taken"
        assert refused(upload, key, pump, valve) == "version_taken"

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("same", [True, False], ids=["same file", "other file"])
    def test_two_at_once_make_one(self, key, pump, same):
        """Both look before either has written: the database decides, and the loser is told as if it came later."""
        looked, ends = threading.Barrier(2), []

        def chunks(data):
            yield data
            looked.wait(10)

        def bring(data):
            signature = signers.raw(key, hashlib.sha256(data).hexdigest(), "pump.bin")
            try:
                releases.upload(draft(pump), chunks(data), [signature], NOW)
                ends.append("made")
            except FirmwareError as error:
                ends.append(error.code)
            finally:
                connection.close()

        threads = [threading.Thread(target=bring, args=(data,)) for data in (DATA, DATA if same else b"other")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(ends) == sorted(["made", "already_there" if same else "version_taken"])
        assert (Release.objects.count(), Compatibility.objects.count(), len(files())) == (1, 1, 1)
        assert trust.check_release(Release.objects.get(), NOW) == []

    def test_nothing_is_left_when_the_database_fails_in_the_middle(self, key, pump, monkeypatch):
        def fails(*args, **kwargs):
            raise ZeroDivisionError

        monkeypatch.setattr(Signature.objects, "bulk_create", fails)
        with pytest.raises(ZeroDivisionError):
            upload(key, pump, sbom=CYCLONEDX)
        assert (Release.objects.count(), Artifact.objects.count(), files()) == (0, 0, [])

    def test_nothing_is_left_when_the_sender_breaks_off(self, key, pump):
        def broken():
            yield DATA
            raise OSError("gone")

        signature = signers.raw(key, SHA, "pump.bin")
        assert refused(releases.upload, draft(pump), broken(), [signature], NOW) == "store_unavailable"


class TestHostileUploads:
    @pytest.mark.parametrize(
        "version", ["", "1", "1.4", "v1.4.0", "1.4.0 ", "1.4.0\n", "01.4.0", "1.4.0-", "1.4.0\x00", "1.4.٤", "1" * 65]
    )
    def test_a_version_is_semantic(self, key, pump, version):
        assert refused(upload, key, pump, version=version) == "version_invalid"

    @pytest.mark.parametrize("oldest", ["1", "latest", "1.5.0", "1.4.0\x00"])
    def test_the_oldest_version_to_install_over_is_one_and_not_newer(self, key, pump, oldest):
        assert refused(upload, key, pump, min_version=oldest) == "min_version_invalid"

    @pytest.mark.parametrize(
        "name",
        [
            "", ".", "..", "../pump.bin", "/etc/passwd", "a/b", "a\\b", "..\\..\\boot.ini", "C:pump.bin", ".hidden",
            "-rf", "a b", "pump.bin\n", "pump\x00.bin", "pumpe-ü.bin", "ＰＵＭＰ.bin", "pump\u202enib.", "x" * 101,
            "~root", "$(id)", "a;b", "a'b", 'a"b', "a%2fb", "<script>",
        ],
    )  # fmt: skip
    def test_a_file_name_is_a_plain_one(self, key, pump, name):
        assert refused(upload, key, pump, file_name=name) == "file_name"
        assert refused(upload, key, pump, sbom=SPDX, sbom_name=name or "..") == "file_name"

    def test_an_empty_file_no_device_type_and_one_too_long(self, key, pump, settings):
        assert refused(upload, key, pump, data=b"") == "empty"
        assert refused(upload, key) == "device_types_missing"
        settings.MAX_ARTIFACT_BYTES = len(DATA) - 1
        assert refused(upload, key, pump) == "too_large"

    def test_truncated_and_changed_files_do_not_fit_their_signature(self, key, pump):
        good = [signers.raw(key, SHA, "pump.bin")]
        for data in (DATA[:-1], DATA + b"x", b"X" + DATA[1:]):
            assert refused(upload, key, pump, data=data, signatures=good) == "signature_unknown"
        assert refused(upload, key, pump, file_name="valve.bin", signatures=good) == "signature_unknown"

    def test_signatures_that_are_none_or_nobodys(self, key, pump):
        good = signers.raw(key, SHA, "pump.bin")
        strangers = signers.raw(signers.new_key(), SHA, "pump.bin")
        assert refused(upload, key, pump, signatures=[]) == "unsigned"
        for bad in ([b""], [b"0"], [b"\x00" * 64], [b"\x30" * 70], [strangers], [good, strangers], [good[:-1]]):
            assert refused(upload, key, pump, signatures=bad) == "signature_unknown"

    def test_signatures_of_keys_that_may_not(self, pump):
        keys = {name: signers.new_key() for name in ("expired", "future", "foreign", "revoked")}
        signers.trusted(keys["expired"], "expired", until=NOW)
        signers.trusted(keys["future"], "future", since=NOW + DAY)
        signers.trusted(keys["foreign"], "foreign", [DeviceTypeFactory()])
        trust.revoke_key(signers.trusted(keys["revoked"], "revoked"), None, "leaked", NOW)
        codes = {name: refused(upload, key, pump) for name, key in keys.items()}
        assert codes == {
            "expired": "signature_expired", "future": "signature_expired",
            "foreign": "signature_out_of_scope", "revoked": "signature_revoked",
        }  # fmt: skip

    def test_a_scope_must_cover_every_device_type(self, pump):
        key = signers.new_key()
        signers.trusted(key, types=[pump])
        assert refused(upload, key, pump, DeviceTypeFactory()) == "signature_out_of_scope"
        assert upload(key, pump)

    @pytest.mark.parametrize(
        "sbom",
        [
            b"x", b"[]", b"{}", b'{"bomFormat": "CycloneDX"}', b'{"bomFormat": "SPDX", "specVersion": "1"}', b"\xff",
            b"[" * 100_000, b'{"spdxVersion": "2.3"}', b'{"@context": "https://evil.example"}', b"null", b"NaN",
            b" " * (sboms.MAX_BYTES + 1),
        ],
        ids=lambda data: data[:20].decode(errors="replace"),
    )  # fmt: skip
    def test_a_bill_of_materials_is_one(self, key, pump, sbom):
        assert refused(upload, key, pump, sbom=sbom) == "sbom_invalid"

    def test_bills_of_materials_of_both_kinds(self, key, pump):
        spdx3 = b'{"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": []}'
        assert upload(key, pump, sbom=SPDX).sbom_name == "sbom.spdx.json"
        assert upload(key, pump, version="1.4.1", sbom=spdx3, sbom_name="mine.json").sbom_name == "mine.json"


class TestArchiving:
    def test_takes_it_out_of_use_once_and_keeps_the_file(self, key, pump):
        row, user = upload(key, pump), StaffFactory()
        assert releases.archive(row, user, "old", NOW)
        assert not releases.archive(row, user, "old", NOW)
        assert (Release.objects.get().state, artifacts.exists(SHA)) == ("archived", True)
        assert Event.objects.get(kind="release.archived").reason == "old"

    @pytest.mark.parametrize("state", ["scheduled", "running", "paused", "aborting", "rolling_back"])
    def test_not_while_a_campaign_needs_it(self, state):
        row = fleet.release()
        campaign = fleet.campaign(row, state=state)
        assert refused(releases.archive, row, None, "x", NOW) == "in_use"
        assert campaign.name in releases.in_use(row)

    def test_drafts_and_ended_campaigns_do_not_need_it(self):
        row = fleet.release()
        for state in ("draft", "pending_approval", "completed", "aborted"):
            fleet.campaign(row, state=state)
        assert releases.archive(row, None, "x", NOW)

    def test_not_while_a_device_runs_it_or_may_have_to_go_back_to_it(self):
        old, new = fleet.release("1.0.0"), fleet.release("2.0.0")
        device = fleet.devices(1, new)[0]
        campaign = fleet.campaign(new)
        fleet.offered(campaign, [device], fallback=old)
        assert refused(releases.archive, old, None, "x", NOW) == "in_use"
        Update.objects.update(state="succeeded", ended_at=NOW)
        assert refused(releases.archive, old, None, "x", NOW) == "in_use"
        type(campaign).objects.update(state="completed")
        verified = Verified.objects.create(device=device, version="1.0.0", release=old, verified_at=NOW)
        assert refused(releases.archive, old, None, "x", NOW) == "in_use"
        verified.release = new
        verified.save()
        assert releases.archive(old, None, "x", NOW)

    def test_a_device_that_left_needs_nothing(self):
        row = fleet.release()
        device = fleet.devices(1, row, state="decommissioned")[0]
        Verified.objects.create(device=device, version="2.0.0", release=row, verified_at=NOW)
        assert releases.archive(row, None, "x", NOW)

    def test_not_while_it_is_on_its_way_to_a_device(self):
        """As in a campaign that leads back, which has no release of its own."""
        old, new = fleet.release("1.0.0"), fleet.release("2.0.0")
        parent = fleet.campaign(new, state="completed")
        child = fleet.campaign(None, rollback_of=parent)
        fleet.offered(child, fleet.devices(1, new), release=old)
        assert refused(releases.archive, old, None, "x", NOW) == "in_use"
