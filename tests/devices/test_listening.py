from datetime import timedelta

import time_machine
from django.utils import timezone

from devices import listening

START = timezone.now()


def test_listening_counts_from_the_first_beat_without_a_gap():
    with time_machine.travel(START, tick=False) as clock:
        assert listening.seconds() == 0
        for _ in range(30):
            listening.beat()
            clock.shift(timedelta(seconds=10))
        assert listening.seconds() == 300


def test_a_gap_starts_the_count_again():
    with time_machine.travel(START, tick=False) as clock:
        listening.beat()
        clock.shift(timedelta(seconds=100))
        assert listening.seconds() == 0
        listening.beat()
        clock.shift(timedelta(seconds=5))
        assert listening.seconds() == 5
