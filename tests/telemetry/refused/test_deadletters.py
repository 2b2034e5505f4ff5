from datetime import timedelta

import pytest
from django.utils import timezone

from devices.contract import MAX_PAYLOAD_BYTES
from devices.registry import Incoming, Refused
from telemetry.models import DeadLetter
from telemetry.refused import deadletters
from tests.factories import DeviceFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
LATER = NOW + timedelta(hours=1)


def letter(payload=b"x", topic="/t/y/d/telemetry", reason="schema", detail="d", path="$", device=None):
    return Refused(Incoming(topic, payload, 1), reason, detail, path, device)


def test_a_refused_message_is_kept_as_it_came_with_its_reason():
    device = DeviceFactory()
    deadletters.keep([letter(b"\xff\x00", detail="too hot", path="$.values.t", device=device.pk)], NOW)
    kept = DeadLetter.objects.get()
    assert (bytes(kept.payload), kept.size, kept.device) == (b"\xff\x00", 2, device)
    assert (kept.reason, kept.detail, kept.path) == ("schema", "too hot", "$.values.t")
    assert (kept.count, kept.first_received_at, kept.received_at) == (1, NOW, NOW)


def test_the_same_bytes_refused_again_count_up():
    deadletters.keep([letter()] * 3, NOW)
    deadletters.keep([letter()], LATER)
    kept = DeadLetter.objects.get()
    assert (kept.count, kept.first_received_at, kept.received_at) == (4, NOW, LATER)


def test_other_bytes_topic_or_reason_are_another_letter():
    deadletters.keep([letter(), letter(b"y"), letter(topic="/t/y/e/telemetry"), letter(reason="nul")], NOW)
    assert DeadLetter.objects.count() == 4


def test_a_large_payload_is_cut_and_its_size_is_told():
    deadletters.keep([letter(b"x" * (MAX_PAYLOAD_BYTES + 10))], NOW)
    kept = DeadLetter.objects.get()
    assert (len(kept.payload), kept.size) == (MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 10)


def test_texts_no_column_holds_are_made_to_fit():
    odd = letter(topic="/t\0" + "t" * 600, reason="r" * 60, detail="d\0" * 600, path="$\0" + "p" * 300)
    deadletters.keep([odd], NOW)
    kept = DeadLetter.objects.get()
    assert (len(kept.topic), len(kept.reason), len(kept.detail), len(kept.path)) == (500, 50, 500, 200)
    assert "\0" not in kept.topic + kept.detail + kept.path


def test_half_a_character_is_told_as_a_question_mark():
    deadletters.keep([letter(detail="\ud800x", path="$.\udc00", topic="/\ud800")], NOW)
    assert DeadLetter.objects.values_list("detail", "path", "topic").get() == ("?x", "$.?", "/?")


def test_nothing_refused_writes_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        deadletters.keep([], NOW)


def test_what_a_device_adds_in_an_hour_is_bounded_and_the_rest_is_counted():
    device, other = DeviceFactory(), DeviceFactory()
    many = [letter(f"{number}".encode(), device=device.pk) for number in range(deadletters.HOURLY)]
    deadletters.keep([*many, letter(b"theirs", device=other.pk)], NOW)
    deadletters.keep([letter(f"more {number}".encode(), device=device.pk) for number in range(50)], NOW)
    assert DeadLetter.objects.filter(device=other).count() == 1
    assert DeadLetter.objects.filter(device=device).count() == deadletters.HOURLY + 1
    flood = DeadLetter.objects.get(reason=deadletters.TOO_MANY)
    assert (flood.count, flood.device) == (50, device)


def test_what_nobody_known_adds_in_an_hour_is_bounded_too():
    for batch in range(3):
        deadletters.keep([letter(f"{batch} {number}".encode()) for number in range(deadletters.HOURLY)], NOW)
    assert DeadLetter.objects.count() == deadletters.HOURLY + 1
    assert DeadLetter.objects.get(reason=deadletters.TOO_MANY).count == 2 * deadletters.HOURLY


def test_old_letters_are_purged(settings):
    settings.DEAD_LETTER_DAYS = 30
    deadletters.keep([letter(b"old")], NOW - timedelta(days=31))
    deadletters.keep([letter(b"young")], NOW - timedelta(days=29))
    assert deadletters.purge(NOW) == 1
    assert bytes(DeadLetter.objects.get().payload) == b"young"
