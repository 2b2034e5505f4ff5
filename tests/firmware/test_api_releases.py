"""Releases over HTTP: what a build server sends, what it is told, and what nobody gets in."""

import hashlib
import json
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from devices.models import Event
from firmware import artifacts, releases, sboms, trust, upload_tokens
from firmware.models import Release, UploadToken
from tests.factories import DeviceTypeFactory, StaffFactory, TenantFactory, UserFactory, member
from tests.firmware import fleet, signers
from tests.firmware.test_releases import CYCLONEDX, SPDX
from tests.fleetportal.world import staff

pytestmark = pytest.mark.django_db
URL = "/api/v1/releases"
HOSTILE_NAMES = [
    "../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "a/../../b.bin", "pump\x00.bin", "pumpe-ü.bin", "..", "",
    "pump.bin/", "&#46;&#46;/x.bin",
]  # fmt: skip
NOW = timezone.now()


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


@pytest.fixture
def token(pump):
    return upload_tokens.make("CI", [pump], NOW + timedelta(days=30), None)[1]


def file(data, name="pump.bin"):
    return SimpleUploadedFile(name, data)


def parts(key, data=b"firmware", name="pump.bin", make=signers.raw, **told):
    """A good upload, but for what is told; None leaves a part out."""
    signature = make(key, hashlib.sha256(data).hexdigest(), name)
    usual = {"version": "1.4.0", "device_types": ["pump"], "file": file(data, name)}
    usual |= {"signature": file(signature, "pump.sig")} | told
    return {name: value for name, value in usual.items() if value is not None}


def post(token, sent, **headers):
    return Client().post(URL, sent, headers={"Authorization": f"Bearer {token}"} | headers)


def refusal(answer):
    assert answer.headers["Content-Type"] == "application/problem+json"
    told = answer.json()
    return answer.status_code, told["error_code"], told.get("path")


def left(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


class TestUploading:
    def test_a_build_server_brings_in_a_release(self, key, pump, token):
        tenant = TenantFactory(slug="own")
        sent = parts(
            key, version="1.4.0", min_version="1.0.0", notes="Faster.", tenants=["own"], min_battery_percent="30",
            needs_mains="true", min_free_bytes="1000", sbom=file(CYCLONEDX, "bom.json"),
        )  # fmt: skip
        answer = post(token, sent)
        told = answer.json()
        assert answer.status_code == 201, told
        row = Release.objects.get()
        assert answer.headers["Location"] == told["url"] == f"http://testserver{URL}/{row.pk}"
        assert (told["version"], told["device_types"], told["tenants"]) == ("1.4.0", ["pump"], ["own"])
        assert told["preconditions"] == {"min_battery_percent": 30, "needs_mains": True, "min_free_bytes": 1000}
        assert told["artifact"]["sha256"] == hashlib.sha256(b"firmware").hexdigest()
        assert [each["key"] for each in told["signatures"]] == ["build server"]
        assert told["sbom"]["sha256"] == hashlib.sha256(CYCLONEDX).hexdigest()
        assert (told["uploaded_by"], list(row.tenants.all()), trust.check_release(row, NOW)) == ("CI", [tenant], [])

    def test_signatures_of_openssl_and_cosign_as_files_and_as_text(self, key, token, tmp_path):
        edward = signers.new_ed25519()
        signers.trusted(edward, "ed")
        for number, (signer, make) in enumerate(
            (signer, make)
            for signer in (key, edward)
            for make in (signers.raw, signers.cosign, lambda *told: signers.openssl(told[0], tmp_path, *told[1:]))
        ):
            answer = post(token, parts(signer, make=make, version=f"1.0.{number}"))
            assert answer.status_code == 201, answer.content
        sha256 = hashlib.sha256(b"firmware").hexdigest()
        both = [signers.cosign(each, sha256, "pump.bin").decode() for each in (key, edward)]
        answer = post(token, parts(key, version="2.0.0", signature=both))
        assert [each["algorithm"] for each in answer.json()["signatures"]] == ["ecdsa-p256", "ed25519"]

    def test_again_is_fine_and_another_file_is_not(self, key, token, folder):
        first = post(token, parts(key))
        again = post(token, parts(key))
        assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
        assert again.headers["Location"] == first.headers["Location"]
        assert refusal(post(token, parts(key, b"other"))) == (409, "version_taken", "$.version")
        assert (Release.objects.count(), len(left(folder))) == (1, 1)

    def test_staff_who_may_add_releases_do_it_with_their_session(self, key, pump):
        author = staff("Firmware author")
        client = Client()
        client.force_login(author)
        assert refusal(client.post(URL, parts(key, device_types=["valve"])))[:2] == (400, "device_type_unknown")
        answer = client.post(URL, parts(key), headers={"Authorization": "Basic bm8="})
        assert answer.status_code == 201, answer.content
        assert (Release.objects.get().created_by, answer.json()["uploaded_by"]) == (author, author.username)
        assert Event.objects.get(kind="release.uploaded").user == author

    def test_a_session_needs_the_csrf_token(self, key, pump):
        client = Client(enforce_csrf_checks=True)
        client.force_login(StaffFactory())
        assert refusal(client.post(URL, parts(key)))[:2] == (403, "permission_denied")

    def test_large_notes_are_no_file(self, key, token):
        assert refusal(post(token, parts(key, notes="x" * 20_001))) == (400, "invalid", "$.notes")
        assert refusal(post(token, parts(key, notes="x" * 2**21))) == (413, "too_large", "$.file")


class TestWhoMayUpload:
    def test_a_token_uploads_for_its_device_types_and_does_nothing_else(self, key, token):
        DeviceTypeFactory(slug="valve")
        for slugs in (["valve"], ["pump", "valve"], ["nonsense"]):
            answer = post(token, parts(key, device_types=slugs))
            assert refusal(answer) == (403, "out_of_scope", "$.device_types")
        release = fleet.release(key="another")
        bearer = {"Authorization": f"Bearer {token}"}
        assert Client().get(URL, headers=bearer).status_code == 403
        for path in (f"{URL}/{release.pk}", f"{URL}/{release.pk}/artifact", "/api/v1/campaigns"):
            assert Client().get(path, headers=bearer).status_code in (401, 403)

    def test_a_token_that_is_not_good_is_refused_before_the_file_is_looked_at(self, key, token, folder):
        UploadToken.objects.update(revoked_at=NOW)
        for bad in (token, "fpu_nonsense", "", "\x7f"):
            answer = post(bad, parts(key))
            assert refusal(answer) == (401, "token_refused", None)
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="releases"'
        assert left(folder) == []

    def test_nobody_and_people_without_the_permission_are_refused(self, key, pump):
        assert Client().post(URL, parts(key)).status_code == 401
        for user in (staff("Support"), staff("Firmware approver"), UserFactory(), member(TenantFactory())):
            client = Client()
            client.force_login(user)
            assert refusal(client.post(URL, parts(key)))[:2] == (403, "permission_denied")
        assert not Release.objects.exists()

    def test_each_token_so_often(self, key, token, settings):
        answers = [post(token, {}).status_code for _ in range(61)]
        assert (set(answers[:60]), answers[60]) == ({400}, 429)

    def test_no_token_is_written_down(self, key, token, caplog):
        caplog.set_level("DEBUG")
        post(token, parts(key))
        post(token + "x", parts(key))
        assert token[12:] not in caplog.text
        assert token[12:] not in str(list(Event.objects.values()))


class TestMistakes:
    @pytest.mark.parametrize(
        ("told", "code", "path"),
        [
            ({"version": "1.4"}, "version_invalid", "$.version"),
            ({"version": None}, "invalid", "$.version"),
            ({"version": "1" * 65}, "invalid", "$.version"),
            ({"version": "1.4.0\x00"}, "invalid", "$.version"),
            ({"min_version": "9.0.0"}, "min_version_invalid", "$.min_version"),
            ({"device_types": None}, "invalid", "$.device_types"),
            ({"device_types": [""]}, "invalid", "$.device_types[0]"),
            ({"tenants": ["nobody"]}, "tenant_unknown", "$.tenants"),
            ({"notes": "a\x00b"}, "invalid", "$.notes"),
            ({"min_battery_percent": "101"}, "invalid", "$.min_battery_percent"),
            ({"min_free_bytes": "-1"}, "invalid", "$.min_free_bytes"),
            ({"force": "true"}, "invalid", "$.force"),
            ({"file": None}, "invalid", "$.file"),
            ({"file": "not a file"}, "invalid", "$.file"),
            ({"signature": None}, "unsigned", "$.signature"),
            ({"signature": "nonsense!"}, "signature_unknown", "$.signature"),
            ({"signature": "x" * 5000}, "invalid", "$.signature[0]"),
            ({"signature": file(b"x" * 5000, "s")}, "invalid", "$.signature[0]"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_say_where_they_are_and_leave_nothing(self, key, token, folder, told, code, path):
        assert refusal(post(token, parts(key, **told))) == (400, code, path)
        assert (Release.objects.count(), left(folder)) == (0, [])

    def test_files_that_are_empty_too_long_or_changed_on_the_way(self, key, token, folder, settings):
        good = parts(key)["signature"].read()
        for data in (b"firmwar", b"firmwarE", b"firmware "):
            answer = post(token, parts(key, file=file(data), signature=file(good, "s")))
            assert refusal(answer) == (400, "signature_unknown", "$.signature")
        assert refusal(post(token, parts(key, b""))) == (400, "empty", "$.file")
        settings.MAX_ARTIFACT_BYTES = 7
        assert refusal(post(token, parts(key))) == (413, "too_large", "$.file")
        assert left(folder) == []

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_no_file_name_leads_anywhere(self, key, token, folder, name):
        """A path is cut down to its last part before anybody sees it: then it is not what was signed, nor a path."""
        signature = signers.cosign(key, hashlib.sha256(b"firmware").hexdigest(), name).decode().strip()
        fields = {"version": "1.4.0", "device_types": "pump", "signature": signature}
        body = b"".join(
            f'--x\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{text}\r\n'.encode()
            for field, text in fields.items()
        )
        body += f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        body += b"firmware\r\n--x--\r\n"
        headers = {"Authorization": f"Bearer {token}"}
        answer = Client().generic("POST", URL, body, content_type="multipart/form-data; boundary=x", headers=headers)
        assert refusal(answer)[:2] in [(400, code) for code in ("file_name", "signature_unknown", "invalid")]
        assert left(folder) == []

    def test_bills_of_materials(self, key, token, folder):
        for bad in (b"x", b"{}", b"[" * 50_000):
            answer = post(token, parts(key, sbom=file(bad, "bom.json")))
            assert refusal(answer) == (400, "sbom_invalid", "$.sbom")
        longer = file(b" " * (sboms.MAX_BYTES + 1), "bom.json")
        assert refusal(post(token, parts(key, sbom=longer))) == (400, "sbom_invalid", "$.sbom")
        assert left(folder) == []
        assert post(token, parts(key, sbom=file(SPDX, "bom.json"))).json()["sbom"]["name"] == "sbom.spdx.json"

    @pytest.mark.parametrize(
        ("kind", "body", "status", "code"),
        [
            ("application/json", b"{}", 415, "unsupported_media_type"),
            ("multipart/form-data; boundary=x", b"", 400, "invalid"),
            ("multipart/form-data; boundary=x", b"nonsense", 400, "invalid"),
            ("multipart/form-data", b"--x--", 400, "parse_error"),
            ("multipart/form-data; boundary=\xff", b"--x--", 400, "parse_error"),
            ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="f"', 400, "invalid"),
        ],
        ids=["json", "empty", "nonsense", "no boundary", "bad boundary", "cut off"],
    )
    def test_a_body_that_is_none(self, token, kind, body, status, code):
        answer = Client().generic("POST", URL, body, content_type=kind, headers={"Authorization": f"Bearer {token}"})
        assert refusal(answer)[:2] == (status, code)

    def test_a_disk_that_is_full_is_not_the_callers_fault(self, key, token, monkeypatch):
        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(releases, "upload", full)
        assert refusal(post(token, parts(key)))[:2] == (503, "store_unavailable")

    def test_too_many_parts(self, key, token):
        many = [file(b"x", f"{number}.sig") for number in range(101)]
        assert refusal(post(token, parts(key, signature=many)))[:2] == (400, "parse_error")
        assert refusal(post(token, parts(key, signature=many[:50])))[:2] == (400, "signature_unknown")


class TestLooking:
    @pytest.fixture
    def client(self):
        client = Client()
        client.force_login(staff("Support"))
        return client

    def test_a_list_costs_the_same_with_one_and_with_many(self, client, django_assert_num_queries):
        def queries():
            with django_assert_num_queries(12):
                return client.get(URL).json()["results"]

        fleet.release("1.0.0")
        assert len(queries()) == 1
        for number in range(3):
            fleet.release(f"2.0.{number}")
        assert [each["version"] for each in queries()] == ["2.0.2", "2.0.1", "2.0.0", "1.0.0"]

    def test_a_list_is_narrowed_down_and_turned_page_by_page(self, client, pump):
        rows = [fleet.release(f"1.0.{number}", pump) for number in range(3)]
        fleet.release("1.0.0")
        Release.objects.filter(pk=rows[0].pk).update(state="archived")

        def versions(query):
            return [each["version"] for each in client.get(f"{URL}?{query}").json()["results"]]

        assert versions("device_type=pump") == ["1.0.2", "1.0.1", "1.0.0"]
        assert versions("version=1.0.0") == ["1.0.0", "1.0.0"]
        assert versions("state=archived") == versions("device_type=pump&version=1.0.0") == ["1.0.0"]
        first = client.get(f"{URL}?limit=3").json()
        assert len(client.get(first["next"]).json()["results"]) == 1
        assert refusal(client.get(f"{URL}?state=x"))[:2] == (400, "invalid")

    def test_one_says_whether_it_can_be_trusted(self, client):
        row = fleet.release()
        assert client.get(f"{URL}/{row.pk}").json()["problems"] == []
        trust.revoke_key(fleet.trusted_key(), None, "leaked", NOW)
        assert "revoked" in client.get(f"{URL}/{row.pk}").json()["problems"][0]
        assert refusal(client.get(f"{URL}/999999"))[:2] == (404, "not_found")

    def test_its_file_and_its_bill_of_materials(self, client):
        row = fleet.release(data=b"0123456789", file_name="pump.bin")
        answer = client.get(f"{URL}/{row.pk}/artifact", headers={"Accept": "application/octet-stream"})
        assert (answer.status_code, b"".join(answer)) == (200, b"0123456789")
        assert answer.headers["Content-Disposition"] == 'attachment; filename="pump.bin"'
        part = client.get(f"{URL}/{row.pk}/artifact", headers={"Range": "bytes=-3"})
        assert (part.status_code, b"".join(part)) == (206, b"789")
        assert refusal(client.get(f"{URL}/{row.pk}/sbom"))[:2] == (404, "not_found")
        stored = artifacts.store([CYCLONEDX], limit=10**6)
        Release.objects.update(sbom_sha256=stored.sha256, sbom_name="sbom.cdx.json")
        answer = client.get(f"{URL}/{row.pk}/sbom")
        assert (json.loads(answer.content)["bomFormat"], answer.headers["X-Content-Type-Options"]) == (
            "CycloneDX", "nosniff",
        )  # fmt: skip
        assert answer.headers["Content-Disposition"] == 'attachment; filename="sbom.cdx.json"'

    def test_customers_and_strangers_see_nothing(self):
        row = fleet.release()
        for user in (None, member(TenantFactory()), UserFactory()):
            client = Client()
            if user:
                client.force_login(user)
            for path in ("", f"/{row.pk}", f"/{row.pk}/artifact", f"/{row.pk}/sbom"):
                assert client.get(URL + path).status_code in (401, 403)
