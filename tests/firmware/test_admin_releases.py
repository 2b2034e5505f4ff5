"""The staff's pages of releases: the upload and what it says, the page and what can be checked by hand."""

import base64
import hashlib
import re
import subprocess

import pytest
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.utils import timezone

from devices.models import Event
from firmware import artifacts, releases
from firmware.models import Release
from tests.devices.desk import ROLES
from tests.factories import DeviceTypeFactory, TenantFactory
from tests.firmware import fleet, signers
from tests.firmware.office import act, errors, image, offers, said, signature, sit, url

pytestmark = pytest.mark.django_db
DATA = b"image\n" * 100
SBOM = b'{"bomFormat": "CycloneDX", "specVersion": "1.6"}'


@pytest.fixture
def pump():
    return DeviceTypeFactory(name="Pump")


@pytest.fixture
def author(client, ca):
    fleet.trusted_key()
    return sit(client, "Firmware author")


@pytest.fixture
def upload(client, author, pump):
    """Send the form; what is not told is good."""

    def send(**told):
        usual = {
            "version": "2.0.0", "device_types": [pump.pk], "file": image(), "signatures": [signature()],
            "signature_text": "", "min_version": "", "notes": "", "min_battery_percent": "0", "min_free_bytes": "0",
        }  # fmt: skip
        return client.post(url("release", "add"), {k: v for k, v in (usual | told).items() if v is not None})

    return send


class TestUpload:
    def test_takes_in_all_that_was_told(self, client, upload, author, pump):
        tenant, other = TenantFactory(), DeviceTypeFactory()
        answer = upload(
            device_types=[pump.pk, other.pk], tenants=[tenant.pk], notes="Less noise", min_version="1.4.0",
            min_battery_percent="40", needs_mains="on", min_free_bytes="1000",
            sbom=image(SBOM, "pump.cdx.json"),
        )  # fmt: skip
        row = Release.objects.get()
        assert answer.status_code == 302, errors(answer)
        assert (row.version, row.min_version, row.notes, row.created_by) == ("2.0.0", "1.4.0", "Less noise", author)
        assert (row.min_battery_percent, row.needs_mains, row.min_free_bytes) == (40, True, 1000)
        assert set(row.device_types.all()) == {pump, other}
        assert list(row.tenants.all()) == [tenant]
        assert (row.sbom_name, row.sbom_sha256) == ("pump.cdx.json", hashlib.sha256(SBOM).hexdigest())
        assert (row.artifact.file_name, row.artifact.size) == ("pump-2.0.0.bin", len(DATA))
        assert artifacts.open_file(row.artifact.sha256).read() == DATA
        assert row.artifact.signatures.count() == 1
        assert Event.objects.filter(kind="release.uploaded", user=author).count() == 1

    def test_it_says_which_signature_is_not_good(self, upload):
        bad = signature(data=b"another image", name="other.sig")
        answer = upload(signatures=[signature(), bad])
        text = errors(answer)["signatures"]
        assert text.startswith("other.sig: No trusted key has made this signature")
        assert "  pump-2.0.0.bin" in text
        pasted = base64.b64encode(signature(data=b"another image").read()).decode()
        answer = upload(signature_text=pasted)
        assert errors(answer)["signatures"].startswith("Pasted signature 1: No trusted key")
        assert "Every signature given must be good" in answer.content.decode()

    def test_a_signature_may_be_pasted_several_with_an_empty_line_between(self, upload):
        fleet.trusted_key("second")
        texts = [base64.encodebytes(signature(key=key).read()).decode() for key in ("build server", "second")]
        assert upload(signatures=None, signature_text="\r\n\r\n".join(texts)).status_code == 302
        assert Release.objects.get().artifact.signatures.count() == 2

    def test_an_image_that_is_large_is_never_whole_in_memory(self, upload, monkeypatch):
        data, met = b"0123456789abcdef" * 300_000, []
        chunks = TemporaryUploadedFile.chunks
        monkeypatch.setattr(
            TemporaryUploadedFile, "chunks", lambda self, size=None: met.append(self.name) or chunks(self, size)
        )
        answer = upload(file=image(data), signatures=[signature(data)])
        assert answer.status_code == 302, errors(answer)
        assert met == ["pump-2.0.0.bin"]
        assert Release.objects.get().artifact.size == len(data)

    @pytest.mark.parametrize(
        ("field", "told", "why"),
        [
            ("version", {"version": "2.0"}, "not a semantic version"),
            ("min_version", {"min_version": "old"}, "not a semantic version"),
            ("min_version", {"min_version": "3.0.0"}, "newer than the release itself"),
            ("device_types", {"device_types": []}, "required"),
            ("file", {"file": None}, "required"),
            ("file", {"file": image(b"")}, "empty"),
            ("file", {"file": image(name="a b.bin")}, "no space"),
            ("signatures", {"signatures": None}, "at least one"),
            ("signatures", {"signatures": [image(b"nonsense!")]}, "pump-2.0.0.bin: Not a signature"),
            ("signatures", {"signatures": [signature(b"another image")]}, ""),
            ("signatures", {"signatures": [signature(key="stranger")]}, ""),
            ("signature_text", {"signature_text": "nonsense!"}, "What was pasted: Not a signature"),
            ("sbom", {"sbom": image(b"{}", "sbom.json")}, "neither CycloneDX nor SPDX"),
            ("min_battery_percent", {"min_battery_percent": "101"}, "100"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_says_what_is_wrong_where_it_is_wrong_and_keeps_nothing(self, upload, field, told, why):
        for file in [told.get("file"), told.get("sbom"), *(told.get("signatures") or [])]:
            if file is not None:
                file.seek(0)
        answer = upload(notes="Kept", **told)
        assert answer.status_code == 200
        assert list(errors(answer)) == [field]
        assert why in errors(answer)[field]
        assert "Kept" in answer.content.decode()
        assert not Release.objects.exists()

    def test_too_large_a_file_is_said_at_the_file(self, upload, settings):
        settings.MAX_ARTIFACT_BYTES = 10
        assert "longer than 10 bytes" in errors(upload())["file"]

    def test_a_version_is_never_uploaded_twice_for_a_type(self, upload, pump):
        upload()
        answer = upload(file=image(b"other"), signatures=[signature(b"other")])
        assert "2.0.0 exists already for Pump" in errors(answer)["version"]
        assert Release.objects.count() == 1

    def test_a_key_that_may_not_sign_for_the_type_is_said_at_the_signatures(self, upload):
        fleet.trusted_key("narrow").device_types.add(DeviceTypeFactory())
        assert "signatures" in errors(upload(signatures=[signature(key="narrow")]))

    def test_the_form_says_whose_signature_counts(self, client, author):
        assert "build server" in client.get(url("release", "add")).content.decode()
        key = fleet.trusted_key()
        key.revoked_at = timezone.now()
        key.save()
        assert "No key is trusted today" in client.get(url("release", "add")).content.decode()

    @pytest.mark.parametrize("role", [role for role in ROLES if role != "Firmware author"])
    def test_is_for_authors(self, client, ca, role):
        sit(client, role)
        assert client.get(url("release", "add")).status_code == 403
        assert client.post(url("release", "add"), {}).status_code == 403


class TestPage:
    @pytest.fixture(params=["ecdsa", "ed25519"])
    def signed(self, request, pump):
        key = signers.new_key() if request.param == "ecdsa" else signers.new_ed25519()
        signers.trusted(key, "bench")
        draft = releases.Draft("2.0.0", [pump], "pump-2.0.0.bin", sbom_name="s.json")
        raw = signers.raw(key, hashlib.sha256(DATA).hexdigest(), "pump-2.0.0.bin")
        return releases.upload(draft, [DATA], [raw], timezone.now(), sbom=SBOM)

    def test_what_it_says_to_type_verifies_what_it_gives_away(self, client, author, signed, tmp_path):
        page = client.get(url("release", "change", signed.pk))
        assert "Verified just now" in page.content.decode()
        each = page.context["signatures"][0]
        names = {
            url("release", "file", signed.pk): "pump-2.0.0.bin",
            url("release", "signature", signed.pk, each.signature.pk): "pump-2.0.0.bin.sig",
            url("trustedkey", "pem", each.signature.key_id): None,
        }
        for address, name in names.items():
            answer = client.get(address)
            told = re.search(r'filename="([^"]+)"', answer.headers["Content-Disposition"])[1]
            assert name in (None, told)
            data = b"".join(answer) if answer.streaming else answer.content
            (tmp_path / told).write_bytes(data)
        command = ["bash", "-euc", each.by_openssl]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Verified" in done.stdout
        (tmp_path / "pump-2.0.0.bin").write_bytes(DATA + b"!")
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0

    def test_the_bill_of_materials_and_the_signature_in_base64_can_be_taken_away(self, client, author, signed):
        assert client.get(url("release", "sbom", signed.pk)).content == SBOM
        row = signed.artifact.signatures.get()
        answer = client.get(url("release", "signature", signed.pk, row.pk) + "?text=1")
        assert answer.content.decode() == row.signature

    def test_a_revoked_key_is_said_at_once(self, client, author, pump):
        gone = {"revoked_at": timezone.now(), "reason": "The laptop was stolen"}
        fleet.trusted_key("old laptop", **gone)
        row = fleet.release("1.9.0", pump, key="old laptop")
        page = client.get(url("release", "change", row.pk)).content.decode()
        assert "It cannot be rolled out" in page
        assert "The laptop was stolen" in page
        assert "Keys revoked" in client.get(url("release")).content.decode()

    def test_campaigns_of_it_are_listed_with_a_link_to_the_rest(self, client, author, pump):
        row = fleet.release("2.0.0", pump)
        for _ in range(22):
            fleet.campaign(row, state="draft")
        page = client.get(url("release", "change", row.pk)).content.decode()
        assert page.count('class="badge badge-draft"') == 20
        assert "and 2 more" in page

    def test_files_are_for_staff_and_a_missing_one_is_a_message(self, client, author, pump):
        row = fleet.release("2.0.0", pump)
        artifacts.files.store().delete(artifacts.files.name(row.artifact.sha256))
        answer = client.get(url("release", "file", row.pk), follow=True)
        assert "not in the store" in said(answer)
        assert client.get(url("release", "sbom", row.pk)).status_code == 404
        assert client.get(url("release", "signature", row.pk, 10**9)).status_code == 404
        client.logout()
        assert client.get(url("release", "file", row.pk)).status_code == 302

    def test_nothing_of_a_release_is_changed_by_hand(self, client, author, pump):
        row = fleet.release("2.0.0", pump)
        assert client.post(url("release", "change", row.pk), {"notes": "x"}).status_code == 403


class TestArchive:
    def test_asks_why_and_is_evidence(self, client, author, pump):
        row = fleet.release("2.0.0", pump)
        asked = act(client, "release", "archive", row, reason="")
        assert "No new campaign can be made of it" in asked.content.decode()
        answer = act(client, "release", "archive", row, back="page")
        assert said(answer) == "Archive: 1 done."
        assert answer.request["PATH_INFO"] == url("release", "change", row.pk)
        assert Release.objects.get().state == "archived"
        event = Event.objects.get(kind="release.archived")
        assert (event.user, event.reason) == (author, "because")

    def test_one_in_use_is_refused_and_the_others_have_their_turn(self, client, author, pump):
        used, idle = fleet.release("2.0.0", pump), fleet.release("1.0.0", pump)
        fleet.campaign(used)
        answer = act(client, "release", "archive", used, idle)
        assert "2.0.0: Release 2.0.0 is in use" in said(answer)
        assert set(Release.objects.values_list("version", "state")) == {("2.0.0", "ready"), ("1.0.0", "archived")}

    @pytest.mark.parametrize("role", [role for role in ROLES if role != "Firmware author"])
    def test_is_for_authors(self, client, ca, role, pump):
        row = fleet.release("2.0.0", pump)
        sit(client, role)
        assert offers(client, "release") == set()
        act(client, "release", "archive", row)
        assert Release.objects.get().state == "ready"
        assert "Archive…" not in client.get(url("release", "change", row.pk)).content.decode()
