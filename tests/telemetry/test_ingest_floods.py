"""Budgets where messages are taken in: what is over one is neither stored nor settled, and everybody hears of it."""

import json
from datetime import timedelta

import pytest
import zstandard
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import registry, tokens
from devices.models import Event, Finding, Presence, Suppression
from devices.registry import Incoming
from operations import audits
from telemetry import floods, ingest
from telemetry.audits import CALM
from telemetry.buckets import BURST_MINUTES
from telemetry.models import DeadLetter, Reading
from telemetry.refused import deadletters
from tests.factories import DeviceFactory, DeviceTypeFactory, SchemaFactory, TenantFactory
from tests.telemetry.messages import envelope, message, topic

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("days")]
BUDGET = 2
BURST = BUDGET * BURST_MINUTES


@pytest.fixture(autouse=True)
def budgets(monkeypatch):
    """Of a process that has just begun."""
    fresh = floods.Floods()
    monkeypatch.setattr(floods, "of_this_process", fresh)
    registry.forget_all()
    return fresh


@pytest.fixture
def loud():
    device = DeviceFactory(device_type=DeviceTypeFactory(telemetry_per_minute=BUDGET))
    SchemaFactory(device_type=device.device_type)
    return device


def told(device, count):
    return [message(device, envelope()) for _ in range(count)]


def settled(outcome):
    return sum(len(answer.stored) + len(answer.refused) for answer in outcome.settled.values())


def test_what_is_over_the_budget_is_neither_stored_nor_settled_and_the_neighbours_are(loud):
    quiet = DeviceFactory()
    SchemaFactory(device_type=quiet.device_type)
    outcome = ingest.store_batch([*told(loud, BURST + 7), *told(quiet, 20)])
    assert (outcome.stored, outcome.flooded, outcome.refused) == (BURST + 20, 7, [])
    assert settled(outcome) == BURST + 20
    assert Reading.objects.filter(device=loud).count() == BURST


def test_it_is_found_and_a_sample_is_kept(loud):
    ingest.store_batch(told(loud, BURST + 7))
    found = Finding.objects.get()
    assert (found.kind, found.device, found.severity, found.count) == ("flood", loud, "warning", 1)
    assert found.detail == "7 messages, each of one reading or more, were not taken: its budget is 2 a minute."
    letters = DeadLetter.objects.all()
    assert {(letter.reason, letter.device) for letter in letters} == {("flood", loud)}
    assert len(letters) == floods.SAMPLES


def test_a_flood_costs_the_database_the_same_however_large_it_is(loud):
    ingest.store_batch(told(loud, BURST + 1))
    costs = []
    for count in (1, 500):
        batch = told(loud, count)
        with CaptureQueriesContext(connection) as queries:
            assert ingest.store_batch(batch).flooded == count
        costs.append([each["sql"].split()[0] for each in queries if "SAVEPOINT" not in each["sql"]])
    assert costs[0] == [*costs[1], *costs[0][len(costs[1]) :]], "the first has samples to keep"
    assert "INSERT" not in costs[1] and "COPY" not in costs[1]


def foreign(device):
    return Incoming(f"/x/y/{device.device_id}/telemetry", b"{}", 1)


def odd(device):
    return Incoming(f"/UPPER/y/{device.device_id}/telemetry", b"{}", 1)


@pytest.mark.parametrize("make", [foreign, odd, lambda device: message(device, envelope(), child="d-child")])
def test_messages_on_wrong_topics_cost_as_much_as_others(loud, make):
    outcome = ingest.store_batch([make(loud)] * (BURST + 7))
    assert (len(outcome.refused), outcome.flooded) == (BURST, 7)


def test_findings_are_raised_once_in_a_batch_and_after_presence(loud):
    """In the order in which everybody locks these rows: two workers do not wait for each other in a circle."""
    other = DeviceFactory(device_type=loud.device_type)
    batch = [message(other, envelope()), *[foreign(other), foreign(loud)] * 3]
    with CaptureQueriesContext(connection) as queries:
        ingest.store_batch(batch)
    written = [each["sql"] for each in queries if each["sql"].split()[0] in {"INSERT", "UPDATE"}]
    found = [place for place, sql in enumerate(written) if "INTO devices_finding" in sql]
    (seen,) = [place for place, sql in enumerate(written) if "UPDATE devices_presence" in sql]
    assert len(found) == 1
    assert seen < found[0]
    assert dict(Finding.objects.values_list("device", "count")) == {loud.pk: 3, other.pk: 3}


def test_a_device_in_debt_is_heard(loud):
    ingest.store_batch(told(loud, BURST))
    ago = timezone.now() - timedelta(hours=1)
    Presence.objects.filter(device=loud).update(online=True, last_seen_at=ago)
    assert ingest.store_batch(told(loud, 1)).flooded == 1
    assert Presence.objects.get(device=loud).last_seen_at > ago
    Presence.objects.filter(device=loud).update(last_seen_at=ago)
    assert ingest.store_batch([foreign(loud)]).flooded == 1
    assert Presence.objects.get(device=loud).last_seen_at == ago, "only where it may speak"


def test_a_large_message_costs_by_its_bytes_unpacked(loud):
    plain = json.dumps(envelope()).encode().ljust((BURST - 1) * ingest.READING_BYTES)
    packed = zstandard.ZstdCompressor().compress(plain)
    large = Incoming(topic(loud), packed, 1)
    assert ingest.store_batch([large, *told(loud, 2)]).flooded == 1


def test_a_message_that_could_not_be_stored_pays_for_the_search(loud):
    for _ in range(2):
        ingest.keep_unstorable(told(loud, 1)[0], ValueError("odd"))
    assert set(DeadLetter.objects.values_list("reason", "device")) == {("unstorable", loud.pk)}
    assert ingest.store_batch(told(loud, 1)).flooded == 1


def test_a_tenant_over_its_budget_is_found_by_its_name(days):
    device = DeviceFactory(tenant=TenantFactory(slug="acme", telemetry_per_minute=BUDGET))
    SchemaFactory(device_type=device.device_type)
    assert ingest.store_batch(told(device, 600)).flooded > 0
    assert Finding.objects.values_list("kind", "device", "subject").get() == ("flood_tenant", None, "acme")


def test_a_batch_is_paid_for_once_however_often_it_is_tried(loud, monkeypatch):
    batch = told(loud, BURST)

    def away(*_):
        raise OperationalError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(ingest, "store", away)
        for _ in range(5):
            with pytest.raises(OperationalError):
                ingest.store_batch(batch)
    outcome = ingest.store_batch(batch)
    assert (outcome.stored, outcome.flooded) == (BURST, 0)


def test_a_changed_budget_counts_with_the_next_batch(loud):
    ingest.store_batch(told(loud, BURST))
    assert ingest.store_batch(told(loud, 5)).flooded == 5
    loud.device_type.telemetry_per_minute = 1000
    loud.device_type.save()
    registry.forget_all()
    assert ingest.store_batch(told(loud, 5)).stored == 5


def test_a_device_without_a_budget_of_its_own_has_that_of_the_settings(settings):
    settings.TELEMETRY_PER_MINUTE = 3
    device = DeviceFactory()
    SchemaFactory(device_type=device.device_type)
    assert ingest.store_batch(told(device, 100)).stored == 3 * BURST_MINUTES


def test_a_dead_letter_taken_in_again_costs_no_budget(loud):
    ingest.store_batch(told(loud, BURST + 1))
    again = told(loud, 3)
    assert ingest.store_again(again, [timezone.now()] * 3).stored == 3


def test_a_flood_ends_by_itself_when_it_has_not_been_seen_for_an_hour(loud):
    ingest.store_batch(told(loud, BURST + 1))
    audits.run(timezone.now(), ["floods"])
    assert Finding.objects.get().resolved_at is None
    audits.run(timezone.now() + CALM + timedelta(seconds=1), ["floods"])
    assert Finding.objects.get().resolved_at is not None
    event = Event.objects.get(kind="finding.resolved")
    assert (event.device, event.tenant, event.detail) == (loud, loud.tenant, {"kind": "flood", "subject": ""})
    assert event.reason.startswith("Not seen again since 20")


def test_a_suppressed_flood_is_not_taken_either(loud):
    soon = timezone.now() + timedelta(days=1)
    Suppression.objects.create(kind="flood", device=loud, reason="load test", expires_at=soon)
    assert ingest.store_batch(told(loud, BURST + 1)).flooded == 1
    assert not Finding.objects.exists()


# --- over HTTPS -----------------------------------------------------------------------------------------------------


def test_over_https_it_is_429_with_the_time_to_come_again(client, loud, settings):
    headers = {"Authorization": f"Bearer {tokens.make(loud, timezone.now())[1]}"}

    def post(count):
        body = json.dumps([envelope() for _ in range(count)])
        return client.post("/api/v1/telemetry", body, content_type="application/json", headers=headers)

    assert post(BURST + 5).status_code == 200  # an array is taken whole
    answer = post(1)
    assert (answer.status_code, answer.json()["error_code"]) == (429, "flood")
    assert answer.headers["Content-Type"] == "application/problem+json"
    wait = int(answer.headers["Retry-After"])
    assert (5 * 60 // BUDGET) < wait <= (5 * 60 // BUDGET) + 60 // BUDGET
    assert str(wait) in answer.json()["detail"]
    assert Reading.objects.count() == BURST + 5
    assert Finding.objects.get().kind == "flood"
    metrics = client.get("/metrics").content.decode()
    assert 'fleetportal_https_readings_total{verdict="stored"}' in metrics
    assert 'fleetportal_https_readings_total{verdict="flooded"}' in metrics


def test_dead_letters_hourly_bound_holds_beside_floods(loud):
    """Samples are few enough that a flood does not use up the room of what is wrong with a device."""
    assert 60 * floods.SAMPLES < deadletters.HOURLY
