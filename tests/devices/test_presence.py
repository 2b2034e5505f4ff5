import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices import contract, ingest, presence, registry
from devices.contract import State, Status
from devices.models import Event, Presence
from devices.registry import Incoming
from tests.devices import peers
from tests.factories import DeviceFactory, DeviceTypeFactory
from tests.fleetportal.workers import workers

pytestmark = pytest.mark.django_db
NOW = timezone.now()
MINUTE = timedelta(minutes=1)


LISTENED = 24 * 3600.0


@pytest.fixture
def device():
    return known(DeviceFactory(device_type=DeviceTypeFactory(silence_seconds=60)))


def known(row):
    return registry.look_up([row.device_id])[row.device_id]


def say(device, word, at=NOW):
    """Apply one word: `b3` birth of session 3, `w3` its will, `heard`, `silent` (the sweep finds it silent)."""
    if word == "heard":
        presence.seen([device.pk], at)
    elif word == "silent":
        presence.mark_silent(at + timedelta(hours=1), LISTENED)
    else:
        status = Status(State.ONLINE if word[0] == "b" else State.OFFLINE, int(word[1:]), f"boot-{word[1:]}", 0)
        event = (presence.birth if word[0] == "b" else presence.will)(device, status, at)
        if event:
            event.save()


def after(device, words):
    """(online, ended, session) after these words."""
    Presence.objects.filter(pk=device.pk).update(
        online=False, ended="", session=-1, boot_id="", last_seen_at=None, firmware_version=""
    )
    for word in words:
        say(device, word)
    return Presence.objects.values_list("online", "ended", "session").get(pk=device.pk)


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ("", (False, "", -1)),
        ("b1", (True, "", 1)),
        ("b0", (True, "", 0)),
        ("b1 w1", (False, "will", 1)),
        ("b1 b1", (True, "", 1)),
        ("b1 w1 b1", (False, "will", 1)),  # a repeated birth does not undo the will that came after it
        ("b1 b2 w1", (True, "", 2)),  # the will of an older session: the device has long come back
        ("b1 w1 b2", (True, "", 2)),
        ("b2 b1", (True, "", 2)),
        ("b2 w2 b1 w1", (False, "will", 2)),
        ("w3", (False, "will", 3)),  # the birth was lost
        ("w3 b3", (False, "will", 3)),
        ("b1 silent", (False, "silence", 1)),
        ("b1 silent heard", (True, "", 1)),
        ("b1 silent b2", (True, "", 2)),
        ("b1 silent w1", (False, "will", 1)),  # a will says more than silence
        ("b1 w1 silent", (False, "will", 1)),
        ("b1 w1 heard", (False, "will", 1)),  # late telemetry does not undo a goodbye
        ("b1 silent w1 heard", (False, "will", 1)),
        ("b2 silent w1", (False, "silence", 2)),
        ("heard", (False, "", -1)),
    ],
)
def test_the_newest_session_is_believed_then_its_will_then_silence(device, words, outcome):
    assert after(device, words.split()) == outcome


@st.composite
def retold(draw):
    """A history in order, and the same with repetitions of words and re-delivery of some tail."""
    lives = draw(st.lists(st.sampled_from(["b", "bw"]), min_size=1, max_size=5))
    history = [f"{letter}{session}" for session, life in enumerate(lives) for letter in life]
    repeated = [word for word in history for _ in range(draw(st.integers(1, 3)))]
    for start in draw(st.lists(st.integers(0, len(history)), max_size=2)):
        repeated += history[start:]
    return history, repeated


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(retold())
def test_repeated_and_redelivered_words_end_in_the_same_state(device, told):
    history, repeated = told
    told_before = Event.objects.count()
    expected = after(device, history)
    events = Event.objects.count() - told_before
    assert after(device, repeated) == expected
    assert Event.objects.count() - told_before == 2 * events  # nothing was told twice


def test_a_birth_is_kept_with_what_it_says(device):
    status = Status(State.ONLINE, 4, "boot-9", 0, "1.4.2", "agent 1", rssi_dbm=-70)
    assert presence.birth(device, status, NOW).kind == "device.online"
    row = Presence.objects.get(pk=device.pk)
    assert (row.boot_id, row.firmware_version, row.agent, row.rssi_dbm) == ("boot-9", "1.4.2", "agent 1", -70)
    assert (row.changed_at, row.last_seen_at) == (NOW, NOW)
    assert presence.birth(device, status, NOW + MINUTE) is None


def test_coming_and_going_are_events_of_the_device(device):
    for word in ("b1", "b1", "w1", "w1", "b2"):
        say(device, word)
    kinds = Event.objects.filter(device_id=device.pk).order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["device.online", "device.offline", "device.online"]


def test_silence_is_longer_than_the_type_allows(device):
    say(device, "b1")
    assert presence.mark_silent(NOW + timedelta(seconds=60), LISTENED) == []
    assert presence.mark_silent(NOW + timedelta(seconds=61), LISTENED) == [device.device_id]
    assert presence.mark_silent(NOW + timedelta(seconds=62), LISTENED) == []


def test_being_heard_puts_silence_off(device):
    say(device, "b1")
    say(device, "heard", NOW + MINUTE)
    assert presence.mark_silent(NOW + 2 * MINUTE, LISTENED) == []
    row = Presence.objects.get(pk=device.pk)
    assert row.is_silent(NOW + 2 * MINUTE, MINUTE) is False
    assert row.is_silent(NOW + 2 * MINUTE + timedelta(seconds=1), MINUTE) is True


def test_a_clock_that_jumps_back_does_not_make_a_device_heard_earlier(device):
    say(device, "b1")
    say(device, "heard", NOW - timedelta(hours=1))
    assert Presence.objects.get(pk=device.pk).last_seen_at == NOW


def test_only_devices_that_were_heard_are_touched(device):
    other = known(DeviceFactory(device_type_id=device.device_type_pk))
    say(device, "b1")
    say(other, "b1")
    presence.seen([device.pk, device.pk], NOW + MINUTE)
    presence.seen([], NOW + MINUTE)
    assert presence.mark_silent(NOW + MINUTE + timedelta(seconds=30), LISTENED) == [other.device_id]


def test_a_silence_that_the_portal_did_not_listen_to_is_its_own(device):
    presence.seen([device.pk], NOW)
    Presence.objects.filter(pk=device.pk).update(online=True)
    assert presence.mark_silent(NOW + 3 * MINUTE, listened_seconds=59) == []
    assert presence.mark_silent(NOW + 3 * MINUTE, listened_seconds=61) == [device.device_id]
    assert Event.objects.filter(kind="device.silent", device_id=device.pk).count() == 1


@pytest.mark.django_db(transaction=True)
def test_births_and_readings_of_the_same_devices_do_not_wait_for_each_other_in_a_circle():
    """Births come in any order, readings are taken in the order of the devices: both take the rows in that order."""
    first, second = DeviceFactory(), DeviceFactory()
    held, go = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            Presence.objects.select_for_update().get(device=first)
            held.set()
            go.wait(30)

    def birth(device):
        topic = contract.Topic(device.tenant.slug, device.device_type.slug, device.device_id, contract.STATUS)
        status = contract.Status(contract.State.ONLINE, 1, "b", 0)
        return Incoming(str(topic), contract.encode(status), 1)

    def births():
        with transaction.atomic():
            return ingest.store_batch([birth(second), birth(first)])[0]

    def readings():
        with transaction.atomic():
            presence.seen([first.pk, second.pk], timezone.now())

    def waits(pid):
        with connection.cursor() as cursor:
            cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [pid])
            return cursor.fetchone()[0]

    with workers(3) as (holder, reader, control):
        pids = [reader.pid(), control.pid()]
        holding = holder.begin(hold)
        assert held.wait(10)
        read = reader.begin(readings)
        peers.eventually(lambda: waits(pids[0]), what="the readings wait")
        born = control.begin(births)
        peers.eventually(lambda: waits(pids[1]), what="the births wait")
        go.set()
        assert (holding.result(30), read.result(30), born.result(30)) == (None, None, [])
    assert Presence.objects.filter(online=True).count() == 2
