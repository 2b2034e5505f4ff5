"""The staff's pages of dead letters: found, read, tried, replayed and purged, each with its right and its reason."""

import json
from datetime import timedelta

import cbor2
import pytest
from django.urls import reverse
from django.utils import timezone

from devices.models import Event
from devices.registry import Incoming, Refused
from telemetry import ingest
from telemetry.models import DeadLetter, Reading, Replay
from telemetry.refused import deadletters, replays
from tests.factories import DeviceFactory, SchemaFactory, member
from tests.fleetportal import world
from tests.telemetry.messages import envelope, message, topic

pytestmark = pytest.mark.django_db
GROUPS = reverse("admin:telemetry_deadletter_changelist")
LETTERS, REPLAY, PURGE = (reverse(f"admin:telemetry_deadletter_{name}") for name in ("letters", "replay", "purge"))
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def device(days):
    return DeviceFactory(device_type=SchemaFactory().device_type, name="Cold store 1")


@pytest.fixture
def operator(client):
    user = world.staff("Fleet operator")
    client.force_login(user)
    return user


def keep(device, payload=None, reason="schema", detail="d", path="$.values.temperature_c", ago=timedelta(hours=1)):
    body = json.dumps(envelope()).encode() if payload is None else payload
    refused = Refused(Incoming(topic(device), body, 1), reason, detail, path, device.pk)
    deadletters.keep([refused], timezone.now() - ago)
    return DeadLetter.objects.order_by("-pk")[0]


def text(answer):
    assert answer.status_code == 200
    return answer.content.decode()


def decide(client, address, why="", **more):
    """Read the question, then say why."""
    page = client.get(address)
    asked = page.context["asked"] if page.status_code == 200 else ""
    return client.post(address, {"reason": why, "asked": asked}, **more)


def page_of(letter):
    return reverse("admin:telemetry_deadletter_change", args=[letter.pk])


class TestLooking:
    def test_groups_lead_to_their_letters(self, client, operator, device):
        keep(device, detail="too hot", reason="schema")
        keep(device, b"2", reason="nul")
        page = text(client.get(GROUPS))
        assert "too hot" in page and "Cold store 1" in page
        assert f"{LETTERS}?reason=schema&amp;device={device.device_id}" in page
        letters = text(client.get(LETTERS, {"reason": "schema", "device": device.device_id}))
        assert "too hot" in letters
        assert letters.count('name="letter"') == 1

    def test_groups_by_type_lead_to_the_letters_of_the_type(self, client, operator, device):
        keep(device)
        page = text(client.get(GROUPS, {"by": "type"}))
        assert f"{LETTERS}?reason=schema&amp;type={device.device_type.slug}" in page

    def test_letters_of_nobody_are_a_group_too(self, client, operator):
        item = Refused(Incoming("/a/b/c/telemetry", b"x", 1), "unknown_device", "no device", "topic", None)
        deadletters.keep([item], timezone.now())
        assert f"{LETTERS}?reason=unknown_device&amp;nobodys=on" in text(client.get(GROUPS))

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({}, 2),
            ({"reason": "schema"}, 1),
            ({"reason": "gone"}, 0),
            ({"since": "2000-01-01T00:00"}, 2),
            ({"until": "2000-01-01T00:00"}, 0),
            ({"nobodys": "on"}, 0),
        ],
    )
    def test_the_filter(self, client, operator, device, query, found):
        keep(device)
        keep(device, b"2", reason="nul")
        assert text(client.get(LETTERS, query)).count('name="letter"') == found

    def test_filters_by_tenant_and_type(self, client, operator, device):
        keep(device)
        other = DeviceFactory()
        for name, slug in (("tenant", other.tenant.slug), ("type", other.device_type.slug)):
            assert "No dead letters match" in text(client.get(GROUPS, {name: slug}))
        for name, slug in (("tenant", device.tenant.slug), ("type", device.device_type.slug)):
            assert "Cold store 1" in text(client.get(GROUPS, {name: slug}))

    @pytest.mark.parametrize(
        "query",
        [
            {"device": "d-nobody"},
            {"tenant": "nobody"},
            {"since": "x"},
            {"letter": "x"},
            {"reason": "\0"},
            {"since": "0001-01-01T00:00:00+14:00"},
            {"until": "9999-12-31T23:59:59-14:00"},
        ],
    )
    def test_a_filter_that_is_not_understood_finds_nothing(self, client, operator, device, query):
        keep(device)
        assert 'name="letter"' not in text(client.get(LETTERS, query))
        assert "errorlist" in text(client.get(GROUPS, query))
        for address in (REPLAY, PURGE):
            assert client.get(address, query)["Location"] == GROUPS

    @pytest.mark.parametrize("page", ["0", "-1", "x", "99999999999999999999", "3"])
    def test_any_page_number_is_answered(self, client, operator, device, page):
        keep(device)
        assert client.get(GROUPS, {"p": page}).status_code == 200
        assert client.get(LETTERS, {"p": page}).status_code == 200

    def test_support_looks_and_changes_nothing(self, client, device):
        letter = keep(device)
        client.force_login(world.staff("Support"))
        for address in (GROUPS, LETTERS, page_of(letter)):
            page = text(client.get(address))
            assert REPLAY not in page and PURGE not in page
        for address in (REPLAY, PURGE):
            assert client.get(address).status_code == 403
            assert client.post(address, {"reason": "x"}).status_code == 403
        assert DeadLetter.objects.exists() and not Replay.objects.exists()

    def test_customers_are_not_let_in(self, client, device):
        letter = keep(device)
        client.force_login(member(device.tenant))
        for address in (GROUPS, LETTERS, REPLAY, PURGE, page_of(letter)):
            assert client.get(address).status_code == 302


class TestALetter:
    def test_shows_its_payload_with_the_mistake_marked(self, client, operator, device):
        letter = keep(device, cbor2.dumps(envelope(values={"temperature_c": 999, "note": SCRIPT})))
        page = text(client.get(page_of(letter)))
        assert "CBOR" in page
        assert "<mark>    &quot;temperature_c&quot;: 999,</mark>" in page
        assert SCRIPT not in page and "&lt;script&gt;" in page

    def test_plain_text_is_called_so(self, client, operator, device):
        page = text(client.get(page_of(keep(device, b"null", reason="encoding", detail="premature end of stream"))))
        assert "It is plain text; a message is a JSON object" in page
        assert "As a parser says it: premature end of stream" in page

    def test_what_is_no_text_is_dumped(self, client, operator, device):
        assert "ff 00 41" in text(client.get(page_of(keep(device, b"\xff\x00A"))))

    def test_a_number_of_any_length_is_shown(self, client, operator, device):
        letter = keep(device, cbor2.dumps(envelope(values={"temperature_c": 1 << 40_000})))
        assert "a number of 40,001 bits" in text(client.get(page_of(letter)))

    def test_trying_again_tells_what_would_be_and_stores_nothing(self, client, operator, device):
        letter = keep(device)
        page = text(client.get(page_of(letter), {"try": "1"}))
        assert "It would be taken now." in page
        assert not Reading.objects.exists()
        wrong = keep(device, json.dumps(envelope(values={"temperature_c": 95})).encode())
        page = text(client.get(page_of(wrong), {"try": "1"}))
        assert "It would be refused again." in page
        assert "$.values.temperature_c" in page
        assert DeadLetter.objects.filter(replayed_at=None).count() == 2

    def test_what_cannot_be_replayed_says_why(self, client, operator, device):
        status = Refused(Incoming(topic(device, "status"), b"{}", 1), "field", "d", "$", device.pk)
        deadletters.keep([status], timezone.now())
        page = text(client.get(page_of(DeadLetter.objects.get()), {"try": "1"}))
        assert "another channel" in page
        assert "Try again" not in page

    def test_one_that_is_gone_is_not_there(self, client, operator):
        address = reverse("admin:telemetry_deadletter_change", args=[123])
        assert client.get(address).status_code in (302, 404)


class TestReplaying:
    def test_asks_why_with_its_numbers_and_does_nothing_before(self, client, operator, device):
        keep(device)
        status = Refused(Incoming(topic(device, "status"), b"{}", 1), "field", "d", "$", device.pk)
        deadletters.keep([status], timezone.now())
        page = text(client.get(REPLAY))
        assert "<b>1 dead letter</b>" in page
        assert "1 more cannot be replayed" in page
        assert "Say why" in text(client.post(REPLAY, {"reason": "  "}))
        assert not Replay.objects.exists()

    def test_a_group_a_filter_and_ticked_letters(self, client, operator, device):
        letter, _other = keep(device), keep(device, b"2", reason="nul")
        for query in ({"reason": "schema", "device": device.device_id}, {"reason": "schema"}, {"letter": letter.pk}):
            answer = decide(client, f"{REPLAY}?{'&'.join(f'{k}={v}' for k, v in query.items())}", "mended")
            made = Replay.objects.latest("pk")
            assert answer["Location"] == reverse("admin:telemetry_replay_change", args=[made.pk])
            assert (made.why, made.requested_by) == ("mended", operator)
        replays.run(made.pk)
        assert Reading.objects.count() == 1
        assert [each.reason for each in DeadLetter.objects.all()] == ["nul"]

    def test_nothing_ticked_is_not_all(self, client, operator, device):
        keep(device)
        for address in (REPLAY, PURGE):
            answer = client.get(address, {"ticked": "1"}, follow=True)
            assert "Nothing was ticked" in text(answer)
            decide(client, f"{address}?ticked=1", "x")
        assert DeadLetter.objects.exists() and not Replay.objects.exists()

    def test_a_replays_page_moves_until_it_ends(self, client, operator, device):
        keep(device)
        decide(client, REPLAY, "mended")
        made = Replay.objects.get()
        address = reverse("admin:telemetry_replay_change", args=[made.pk])
        assert "data-moves" in text(client.get(address))
        replays.run(made.pk)
        page = text(client.get(address))
        assert "data-moves" not in page
        assert "mended" in page and "1 of 1 letters" in page

    def test_it_is_cancelled_by_whoever_may_replay(self, client, operator, device):
        keep(device)
        decide(client, REPLAY, "mended")
        made = Replay.objects.get()
        address = reverse("admin:telemetry_replay_cancel", args=[made.pk])
        client.force_login(world.staff("Support"))
        assert client.post(address).status_code == 403
        client.force_login(operator)
        assert client.get(address).status_code == 405
        assert client.post(address).status_code == 302
        made.refresh_from_db()
        assert made.state == "canceled"
        assert Event.objects.filter(kind="deadletters.replay_canceled", user=operator).count() == 1


class TestPurging:
    def test_asks_why_with_its_numbers_then_deletes_with_evidence(self, client, operator, device):
        for number in range(3):
            keep(device, f"{number}".encode())
        keep(device, b"x", reason="nul")
        address = f"{PURGE}?reason=schema"
        assert "<b>3 dead letters</b>" in text(client.get(address))
        assert "Say why" in text(client.post(address, {}))
        assert DeadLetter.objects.count() == 4
        answer = decide(client, address, "a test device", follow=True)
        assert "Purged: 3 dead letters." in text(answer)
        assert [each.reason for each in DeadLetter.objects.all()] == ["nul"]
        event = Event.objects.get(kind="deadletters.purged")
        assert (event.user, event.reason) == (operator, "a test device")
        assert event.detail == {"letters": "of reason schema", "found": 3}

    def test_comes_in_batches(self, client, operator, device, monkeypatch):
        monkeypatch.setattr(deadletters, "PURGED", 2)
        for number in range(5):
            keep(device, f"{number}".encode())
        decide(client, PURGE, "x")
        assert not DeadLetter.objects.exists()

    def test_ticked_letters_alone(self, client, operator, device):
        first, second, third = (keep(device, f"{number}".encode()) for number in range(3))
        decide(client, f"{PURGE}?letter={first.pk}&letter={third.pk}&ticked=1", "x")
        assert list(DeadLetter.objects.all()) == [second]


class TestSinceTheQuestion:
    """What came in while somebody read the numbers and wrote the reason is not in them."""

    @pytest.fixture
    def answer(self, client, operator, device):
        """Ask with two letters there, then let one come again and a new one come, then say why."""

        def do(address):
            for payload in (b"1", b"2"):
                keep(device, payload)
            page = client.get(address)
            assert "<b>2 dead letters</b>" in text(page)
            for payload in (b"2", b"3"):
                keep(device, payload, ago=timedelta(0))
            return client.post(address, {"reason": "x", "asked": page.context["asked"]})

        return do

    def test_it_is_not_purged(self, answer):
        answer(PURGE)
        assert {bytes(each.payload) for each in DeadLetter.objects.all()} == {b"2", b"3"}
        assert Event.objects.get(kind="deadletters.purged").detail["found"] == 1

    def test_it_is_not_replayed(self, answer):
        answer(REPLAY)
        replays.run(Replay.objects.get().pk)
        assert {bytes(each.payload) for each in DeadLetter.objects.exclude(replayed_at=None)} == {b"1"}

    def test_a_filter_that_ends_earlier_stays_as_it_is(self, client, operator, device):
        keep(device)
        decide(client, f"{REPLAY}?until=2026-01-01T00:00", "x")
        assert Replay.objects.get().until.isoformat() == "2026-01-01T00:00:00+00:00"

    @pytest.mark.parametrize("asked", ["", "x", "IjIwOTktMDEtMDFUMDA6MDA6MDArMDA6MDAi:1:forged"])
    def test_without_its_moment_the_question_is_put_anew(self, client, operator, device, asked):
        keep(device)
        for address in (REPLAY, PURGE):
            assert "put anew" in text(client.post(address, {"reason": "x", "asked": asked}))
        assert DeadLetter.objects.exists() and not Replay.objects.exists()


def test_the_letters_page_costs_the_same_with_one_letter_and_many(
    client, operator, device, django_assert_max_num_queries
):
    for number in range(60):
        keep(device, f"{number}".encode())
    with django_assert_max_num_queries(11):
        client.get(LETTERS)


def test_what_a_device_says_today_can_be_replayed(client, operator, device):
    """From the wire to the page: refused by ingest, shown, taken in again."""
    ingest.store_batch([message(device, envelope(values={"temperature_c": 95}))])
    letter = DeadLetter.objects.get()
    assert "<mark>" in text(client.get(page_of(letter)))
