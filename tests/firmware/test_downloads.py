"""What a device is told at its HTTPS door: whether its update is wanted, and its file, in parts or whole."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from devices import tokens
from devices.models import Device
from firmware import files, links, permits, trust
from firmware.models import Campaign, Stop, Update
from tests.factories import DeviceTypeFactory, StaffFactory
from tests.firmware import fleet, signers

pytestmark = [pytest.mark.django_db, pytest.mark.urls("fleetportal.device_urls")]
DATA = bytes(range(256)) * 1000
SIZE = len(DATA)


@pytest.fixture(autouse=True)
def keys(settings, tmp_path):
    """A key folder of its own, with a permit key."""
    settings.CA_DIRECTORY = tmp_path / "ca"
    permits.public_key()


@pytest.fixture
def update():
    made = fleet.release(data=DATA, file_name="pump-2.0.0.bin")
    return fleet.offered(fleet.campaign(made), fleet.devices(1, made))[0]


def bearer(device):
    return {"Authorization": f"Bearer {tokens.make(device, timezone.now())[1]}"}


class Asking:
    """A device with a token."""

    def __init__(self, device):
        self._client, self._headers = Client(), bearer(device)

    def get(self, path, method="get", **headers):
        headers = {name.replace("_", "-"): text for name, text in headers.items()}
        return getattr(self._client, method)(path, headers=self._headers | headers)


@pytest.fixture
def device(update):
    return Asking(update.device)


def wanted(update):
    return f"/api/v1/updates/{update.update_id}"


def link(update):
    return links.PATH + links.token(update)


def body(answer):
    return b"".join(answer) if answer.streaming else answer.content


def refusal(answer):
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, answer.json()["error_code"]


class TestStillWanted:
    def test_yes_with_a_link_that_works(self, update, device):
        answer = device.get(wanted(update))
        told = answer.json()
        assert (answer.status_code, told["wanted"], told["attempt"]) == (200, True, 1)
        assert body(device.get(told["url"].removeprefix("https://127.0.0.1:1"))) == DATA

    def test_not_now(self, update, device):
        Stop.objects.create(started_by=StaffFactory(), reason="fire")
        answer = device.get(wanted(update))
        assert (answer.status_code, answer.json()) == (200, {"wanted": False, "retry_after": 60})
        assert answer.headers["Retry-After"] == "60"
        Update.objects.update(state="installing")
        assert device.get(wanted(update)).json()["wanted"] is True

    def test_not_any_more(self, update, device):
        Update.objects.update(state="canceled", ended_at=timezone.now())
        assert refusal(device.get(wanted(update))) == (410, "update_over")

    def test_not_yours(self, update):
        other = Asking(fleet.devices(1, update.release)[0])
        assert refusal(other.get(wanted(update))) == (404, "update_unknown")
        assert refusal(other.get("/api/v1/updates/00000000-0000-4000-8000-000000000000")) == (404, "update_unknown")

    def test_nobody_asks_without_a_credential(self, update):
        for path in (wanted(update), link(update)):
            answer = Client().get(path)
            assert refusal(answer) == (401, "credential_missing")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("state", ["quarantined", "decommissioned"])
    def test_a_device_that_was_shut_out_gets_nothing(self, update, device, state):
        Device.objects.update(state=state)
        for path in (wanted(update), link(update)):
            assert refusal(device.get(path)) == (403, state)

    def test_a_device_asks_so_often_and_no_more(self, update, device):
        answers = [device.get(wanted(update)).status_code for _ in range(62)]
        assert answers.count(200) == 60
        assert answers[-1] == 429
        assert device.get(link(update)).status_code == 200, "its file has no rate"


class TestTheFile:
    def test_whole(self, update, device):
        answer = device.get(link(update))
        assert (answer.status_code, body(answer)) == (200, DATA)
        told = answer.headers
        assert (told["Content-Length"], told["Accept-Ranges"]) == (str(SIZE), "bytes")
        assert told["ETag"] == f'"{update.release.artifact.sha256}"'
        assert told["Content-Disposition"] == 'attachment; filename="pump-2.0.0.bin"'
        assert (told["Content-Type"], told["X-Content-Type-Options"]) == ("application/octet-stream", "nosniff")
        assert "Set-Cookie" not in told

    def test_whatever_type_is_accepted(self, update, device):
        for accepted in ("application/octet-stream", "text/html", "*/*", "nonsense"):
            assert device.get(link(update), Accept=accepted).status_code == 200

    def test_a_head_tells_and_sends_nothing(self, update, device):
        answer = device.get(link(update), "head", Range="bytes=0-9")
        assert (answer.status_code, body(answer)) == (200, b"")
        assert (answer.headers["Content-Length"], answer.headers["Accept-Ranges"]) == (str(SIZE), "bytes")

    @pytest.mark.parametrize(
        ("asked", "start", "end"),
        [("bytes=0-0", 0, 1), ("bytes=1000-", 1000, SIZE), ("bytes=-7", SIZE - 7, SIZE), ("bytes=5-999999", 5, SIZE)],
    )
    def test_a_part(self, update, device, asked, start, end):
        answer = device.get(link(update), Range=asked)
        assert (answer.status_code, body(answer)) == (206, DATA[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
        assert answer.headers["Content-Length"] == str(end - start)

    def test_a_part_of_another_file_is_the_whole(self, update, device):
        assert device.get(link(update), Range="bytes=5-", If_Range='"other"').status_code == 200

    def test_nothing_beyond_the_end(self, update, device):
        answer = device.get(link(update), Range=f"bytes={SIZE}-")
        assert refusal(answer) == (416, "range_not_satisfiable")
        assert answer.headers["Content-Range"] == f"bytes */{SIZE}"

    def test_preconditions(self, update, device):
        tag = f'"{update.release.artifact.sha256}"'
        assert refusal(device.get(link(update), If_Match='"other"')) == (412, "precondition_failed")
        assert device.get(link(update), If_Match=tag).status_code == 200
        assert device.get(link(update), If_None_Match=tag).status_code == 304

    def test_a_lost_file_is_a_problem_and_not_an_empty_answer(self, update, device):
        files.store().delete(files.name(update.release.artifact.sha256))
        assert refusal(device.get(link(update))) == (503, "artifact_missing")

    def test_costs_the_same_few_queries_for_any_part(self, update, device, django_assert_max_num_queries):
        device.get(link(update))
        with django_assert_max_num_queries(4):
            body(device.get(link(update), Range="bytes=-1"))

    def test_nothing_can_be_changed(self, update, device):
        for method in ("post", "put", "delete", "patch"):
            assert device.get(link(update), method).status_code == 405


class TestLinks:
    def test_tampered_foreign_and_expired_ones_are_refused(self, update, device, settings):
        good = link(update)
        for path in (good[:-1], good + "x", good.replace("-1.", "-2."), links.PATH + "x", links.PATH + "%00"):
            assert refusal(device.get(path)) == (403, "link_bad")
        made = update.release
        theirs = fleet.offered(fleet.campaign(made), fleet.devices(1, made))[0]
        assert refusal(device.get(link(theirs))) == (403, "link_bad")
        settings.LINK_SECONDS = 0
        assert refusal(device.get(good)) == (403, "link_expired")

    def test_a_path_cannot_leave_the_store(self, device):
        for path in ("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "a/../../b"):
            assert device.get(links.PATH + path).status_code in (403, 404)

    @pytest.mark.parametrize("how", ["stop", "pause"])
    def test_nothing_is_sent_while_it_is_held_back_but_to_who_writes_already(self, update, device, how):
        if how == "stop":
            Stop.objects.create(started_by=StaffFactory(), reason="fire")
        else:
            Campaign.objects.update(state="paused", paused_at=timezone.now())
        answer = device.get(link(update))
        assert refusal(answer) == (503, "not_now") and answer.headers["Retry-After"] == "60"
        Update.objects.update(state="installing")
        assert device.get(link(update)).status_code == 200

    def test_it_is_over_when_the_update_is(self, update, device):
        Campaign.objects.update(state="aborting")
        Update.objects.update(state="canceled", ended_at=timezone.now())
        assert refusal(device.get(link(update))) == (410, "update_over")


class TestKeys:
    def test_anybody_gets_the_keys_that_may_still_sign(self, client):
        now = timezone.now()
        good = signers.trusted(signers.new_key(), "b", [DeviceTypeFactory(slug="pump")])
        also = signers.trusted(signers.new_ed25519(), "a")
        trust.revoke_key(signers.trusted(signers.new_key(), "revoked"), None, "x", now)
        signers.trusted(signers.new_key(), "over", until=now - timedelta(days=1))
        answer = client.get("/api/v1/firmware/keys")
        told = answer.json()
        assert told["firmware_keys"] == [also.public_key, good.public_key]
        assert told["permit_key"] == permits.public_key()
        assert [(each["name"], each["device_types"]) for each in told["keys"]] == [("a", []), ("b", ["pump"])]
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        again = client.get("/api/v1/firmware/keys", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")

    def test_a_stranger_makes_no_key(self, client, settings, tmp_path):
        settings.CA_DIRECTORY = tmp_path / "empty"
        answer = client.get("/api/v1/firmware/keys")
        assert (answer.status_code, answer.json()["error_code"]) == (503, "ca_key_unavailable")
        assert not settings.CA_DIRECTORY.exists()

    def test_the_portal_tells_them_too(self, client, settings):
        settings.ROOT_URLCONF = "fleetportal.urls"
        assert client.get("/api/v1/firmware/keys").status_code == 200
