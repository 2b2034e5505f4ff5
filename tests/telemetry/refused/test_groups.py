"""Dead letters in groups: complete, by the filter, and quick however many there are."""

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from devices.registry import Incoming, Refused
from telemetry.models import DeadLetter
from telemetry.refused import deadletters, groups
from telemetry.refused.selections import Selection, replayable, unfit
from tests.factories import DeviceFactory, DeviceTypeFactory, TenantFactory
from tests.telemetry.messages import topic

pytestmark = pytest.mark.django_db
NOW = timezone.now()
HOUR = timedelta(hours=1)


def keep(device, reason, payload=b"x", at=NOW, times=1, said="/t/y/nobody/telemetry", channel="telemetry"):
    where = topic(device, channel) if device else said
    item = Refused(Incoming(where, payload, 1), reason, f"detail {payload!r}", "$.a", device and device.pk)
    deadletters.keep([item] * times, at)


def found(selection=None, by="device"):
    return {(each.reason, each.whose): each for each in groups.page(selection or Selection(), by).groups}


def test_letters_of_a_reason_and_a_device_are_one_group():
    first, second = DeviceFactory(), DeviceFactory()
    keep(first, "schema", b"1", NOW - HOUR, times=3)
    keep(first, "schema", b"2", NOW)
    keep(first, "nul", b"1")
    keep(second, "schema", b"1")
    keep(None, "unknown_device", b"1")
    told = found()
    assert set(told) == {
        ("schema", first.pk), ("nul", first.pk), ("schema", second.pk), ("unknown_device", None),
    }  # fmt: skip
    group = told["schema", first.pk]
    assert (group.letters, group.times, group.first, group.last) == (2, 4, NOW - HOUR, NOW)
    assert group.sample.detail == "detail b'2'"


def test_or_of_a_reason_and_a_type():
    kind = DeviceTypeFactory()
    for _ in range(2):
        keep(DeviceFactory(device_type=kind), "schema")
    keep(DeviceFactory(), "schema")
    assert {key: each.letters for key, each in found(by="type").items()}["schema", kind.pk] == 2


def test_the_one_heard_last_comes_first_and_pages_hold_all(monkeypatch):
    monkeypatch.setattr(groups, "PAGE", 2)
    for number in range(5):
        keep(None, f"r{number}", at=NOW - number * HOUR)
    pages = [groups.page(Selection(), "device", number) for number in (1, 2, 3, 4)]
    assert [[each.reason for each in page.groups] for page in pages] == [["r0", "r1"], ["r2", "r3"], ["r4"], []]
    assert [page.more for page in pages] == [True, True, False, False]


@pytest.mark.parametrize(
    ("selection", "reasons"),
    [
        (lambda _: Selection(), {"a", "b", "c"}),
        (lambda _: Selection(reason="a"), {"a"}),
        (lambda device: Selection(tenant=device.tenant), {"a"}),
        (lambda device: Selection(device_type=device.device_type), {"a"}),
        (lambda device: Selection(device=device), {"a"}),
        (lambda _: Selection(nobodys=True), {"c"}),
        (lambda _: Selection(since=NOW - HOUR), {"a", "c"}),
        (lambda _: Selection(until=NOW - HOUR), {"b"}),
        (lambda _: Selection(reason="a", until=NOW - HOUR), set()),
    ],
)
def test_a_filter_finds(selection, reasons):
    device = DeviceFactory()
    keep(device, "a")
    keep(DeviceFactory(), "b", at=NOW - 2 * HOUR)
    keep(None, "c")
    assert {reason for reason, _ in found(selection(device))} == reasons


def test_ticked_letters_are_only_these():
    keep(None, "a")
    keep(None, "b")
    letter = DeadLetter.objects.get(reason="b")
    assert list(Selection(letters=(letter.pk, 999_999)).rows()) == [letter]


def test_a_selection_is_told_in_words():
    device = DeviceFactory(name="Cold store 1", tenant=TenantFactory(name="Acme"))
    told = Selection("schema", device.tenant, device.device_type, device, since=NOW, until=NOW + HOUR).words()
    assert "of reason schema, of Acme, of Type" in told
    assert f"received since {NOW:%Y-%m-%d %H:%M} UTC" in told
    assert Selection().words() == "all"
    assert Selection(letters=(1, 2)).words() == "2 selected"
    assert Selection(nobodys=True).words() == "of no known device"


def test_only_whole_readings_can_be_replayed_and_others_say_why():
    device = DeviceFactory()
    keep(device, "a")
    keep(device, "b", channel="status")
    keep(device, "c", b"x" * 300_000)
    keep(None, "d", said="not a topic")
    assert [each.reason for each in replayable(Selection().rows())] == ["a"]
    words = {each.reason: unfit(each) for each in DeadLetter.objects.all()}
    assert words["a"] == ""
    assert "another channel" in words["b"] and "another channel" in words["d"]
    assert "300,000 bytes" in words["c"]


def test_a_hundred_thousand_letters_are_counted_in_two_queries_and_quickly(django_assert_num_queries):
    """300 ms are the aim of the page; the test has room for a machine that is busy."""
    kind, tenant = DeviceTypeFactory(), TenantFactory()
    devices = [DeviceFactory(device_type=kind, tenant=tenant).pk for _ in range(50)]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO telemetry_deadletter
                (digest, topic, payload, size, reason, detail, path, device_id, count, first_received_at, received_at)
            SELECT lpad(n::text, 64, '0'), '/a/b/c/telemetry', convert_to(repeat('x', 500), 'utf8'), 500,
                   (ARRAY['schema', 'ts_old', 'field', 'nul'])[1 + n %% 4], 'detail ' || n, '$.values.t',
                   (%s::int[])[1 + n %% 50], 1, now() - n * interval '1 s', now() - n * interval '1 s'
              FROM generate_series(1, 100000) n
            """,
            [devices],
        )
        cursor.execute("ANALYZE telemetry_deadletter")
    for by in groups.BY:
        began = time.perf_counter()
        with django_assert_num_queries(2):
            page = groups.page(Selection(), by)
        took = time.perf_counter() - began
        assert sum(each.letters for each in page.groups) > 0
        print(f"groups by {by}: {took * 1000:.0f} ms")
        assert took < 2
