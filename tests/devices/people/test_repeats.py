"""Requests that are made twice are done once: also when two come at the same time, and after a crash in between."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from devices.errors import DomainError
from devices.models import RepeatedRequest, Tenant
from devices.people import repeats
from devices.people.repeats import Answer, Done
from devices.tasks import forget_repeated_requests
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
ANSWER = Answer(201, b'{"token": "fpa_secret"}', {"Location": "/x"})


class Work:
    """Makes a row, and counts."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        Tenant.objects.create(slug=f"made-{Tenant.objects.count()}", name="Made")
        return Done(ANSWER)


@pytest.fixture
def user(db):
    return UserFactory()


def test_the_second_one_gets_the_first_ones_answer(user):
    work = Work()
    assert repeats.once(user, "k", "f", NOW, work) is None
    assert repeats.once(user, "k", "f", NOW, work) == ANSWER
    assert (work.times, Tenant.objects.count()) == (1, 1)


def test_another_key_and_another_person_are_other_requests(user):
    work = Work()
    for who, key in ((user, "k"), (user, "other"), (UserFactory(), "k")):
        assert repeats.once(who, key, "f", NOW, work) is None
    assert work.times == 3


def test_a_key_is_good_for_one_request(user):
    repeats.once(user, "k", "f", NOW, Work())
    with pytest.raises(DomainError) as error:
        repeats.once(user, "k", "another", NOW, Work())
    assert (error.value.status, error.value.code) == (422, "idempotency_key_reused")


def test_what_was_refused_may_be_asked_anew_and_corrected(user):
    refusal = DomainError("no")
    with pytest.raises(DomainError, match="no"):
        repeats.once(user, "k", "f", NOW, lambda: Done(refused=refusal))
    assert not RepeatedRequest.objects.exists()
    assert repeats.once(user, "k", "corrected", NOW, Work()) is None


def test_after_a_crash_in_between_it_is_done_anew(user):
    def crash():
        Tenant.objects.create(slug="half", name="Half")
        raise MemoryError

    with pytest.raises(MemoryError):
        repeats.once(user, "k", "f", NOW, crash)
    assert not Tenant.objects.exists()
    assert repeats.once(user, "k", "f", NOW, Work()) is None
    assert repeats.once(user, "k", "f", NOW, Work()) == ANSWER


def test_after_a_day_it_is_a_new_request(user):
    repeats.once(user, "k", "f", NOW - timedelta(days=1), Work())
    assert repeats.once(user, "k", "another", NOW, Work()) is None
    assert repeats.once(user, "k", "another", NOW, Work()) == ANSWER


def test_what_is_older_than_a_day_is_forgotten(user):
    repeats.once(user, "old", "f", NOW - timedelta(days=1, hours=1), Work())
    repeats.once(user, "new", "f", NOW, Work())
    assert forget_repeated_requests() == 1
    assert repeats.once(user, "new", "f", NOW, Work()) == ANSWER


def test_neither_key_nor_answer_can_be_read_from_the_database(user):
    repeats.once(user, "my key", "f", NOW, Work())
    row = RepeatedRequest.objects.get()
    assert "my key" not in row.key
    assert b"secret" not in bytes(row.body)


@pytest.mark.django_db(transaction=True)
def test_two_at_once_are_one():
    user = UserFactory()
    inside, go_on = threading.Event(), threading.Event()

    def slow():
        inside.set()
        assert go_on.wait(20)
        return Work()()

    def first():
        try:
            return repeats.once(user, "k", "f", NOW, slow)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first)
        assert inside.wait(20)
        with pytest.raises(DomainError) as error:
            repeats.once(user, "k", "f", NOW, Work())
        go_on.set()
        assert running.result(20) is None
    assert (error.value.status, error.value.code) == (409, "request_in_progress")
    assert repeats.once(user, "k", "f", NOW, Work()) == ANSWER
    assert Tenant.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_one_thing():
    user, work, together = UserFactory(), Work(), threading.Barrier(6)

    def one():
        try:
            together.wait(20)
            return repeats.once(user, "k", "f", NOW, work)
        except DomainError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        told = [each.result(30) for each in [pool.submit(one) for _ in range(6)]]
    assert told.count(None) == 1
    assert all(each in ("request_in_progress", ANSWER) for each in told if each is not None)
    assert (work.times, Tenant.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_killed_leaves_the_key_free():
    user = UserFactory()
    with transaction.atomic():
        row = RepeatedRequest.objects.create(user=user, key=repeats._name(user, "k"), fingerprint="f")
    assert row.status is None
    assert repeats.once(user, "k", "f", NOW, Work()) is None
