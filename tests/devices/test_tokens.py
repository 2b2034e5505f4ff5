"""A device token's life: made, shown once, noted in use, revoked. Its rotation: test_tokens_rotation.py."""

import hashlib
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import tokens
from devices.errors import DomainError
from devices.models import Event
from tests.devices.bearers import DAY, MINUTE, NOW, good, make, refusal, rotate, use
from tests.factories import DeviceFactory, StaffFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def device():
    return DeviceFactory()


def test_a_token_is_random_kept_as_a_hash_and_found_again(device):
    staff = StaffFactory()
    row, token = make(device, user=staff, reason="no TLS on this chip")
    other = make(device)[1]
    assert token.startswith("fpd_") and len(token) == 4 + 43 and token != other
    assert (row.prefix, row.token_hash) == (token[:12], hashlib.sha256(token.encode()).hexdigest())
    assert (row.expires_at, row.created_by, row.last_used_at) == (NOW + 365 * DAY, staff, None)
    assert tokens.check(token, NOW) == row
    event = Event.objects.filter(kind="token.made").earliest("id")
    assert (event.device, event.user, event.reason) == (device, staff, "no TLS on this chip")
    assert event.detail["token"] == row.prefix


def test_the_token_itself_is_nowhere_in_the_database_or_in_what_a_row_says_of_itself(device):
    row, token = make(device)
    rotated = rotate(token, reason="x")
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(
                f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE ANY(%s)", [[f"%{token}%", f"%{rotated}%"]]
            )
            assert cursor.fetchone()[0] == 0, table
    secret = token[12:]
    assert secret not in repr(row) + str(row) + repr(row.__dict__)


@pytest.mark.parametrize("lifetime", [timedelta(0), -DAY, 730 * DAY + timedelta(seconds=1)])
def test_it_lives_two_years_at_most(device, lifetime):
    assert refusal(make, device, lifetime=lifetime) == (400, "token_lifetime")
    assert make(device, lifetime=730 * DAY)[0].expires_at == NOW + 730 * DAY


@pytest.mark.parametrize(
    "token",
    ["", "fpd_", "fpc_" + "a" * 43, "fpd_" + "a" * 42, "fpd_" + "a" * 44, "fpd_" + "a" * 42 + "\0", "\0" * 47,
     "fpd_" + "ä" * 43, "fpd_" + "\ud800" * 43, "fpd_" + "a" * 43 + "\n", "fpd_%" + "a" * 42, "x" * 100_000],
)  # fmt: skip
def test_what_is_no_token_is_unknown(device, token):
    make(device)
    assert refusal(tokens.check, token, NOW) == (401, "token_unknown")


def test_a_known_prefix_costs_the_same_and_says_the_same_as_an_unknown_one(device):
    _, token = make(device)
    guesses = [token[:12] + "a" * 35, "fpd_" + "b" * 43, token[:-1], "garbage"]
    told = []
    for guess in guesses:
        with CaptureQueriesContext(connection) as queries, pytest.raises(DomainError) as error:
            tokens.check(guess, NOW)
        told.append((len(queries), error.value.code, error.value.detail))
    assert set(told) == {(1, "token_unknown", "This token is not known.")}


def test_it_ends_with_its_time_and_by_revocation(device):
    row, token = make(device, lifetime=DAY)
    assert tokens.check(token, NOW + DAY - timedelta(microseconds=1))
    assert refusal(tokens.check, token, NOW + DAY) == (401, "token_expired")
    staff = StaffFactory()
    assert tokens.revoke(row, "leaked", staff, NOW) is True
    assert refusal(tokens.check, token, NOW) == (401, "token_revoked")
    assert tokens.revoke(row, "again", staff, NOW) is False
    row.refresh_from_db()
    assert (row.revoked_at, row.reason) == (NOW, "leaked")
    event = Event.objects.get(kind="token.revoked")
    assert (event.user, event.reason, event.detail) == (staff, "leaked", {"token": row.prefix})


def test_use_is_noted_once_a_minute(device):
    row, token = make(device)
    seen = []
    for seconds in (0, 1, 59, 60, 61, 119, 120):
        use(token, NOW + timedelta(seconds=seconds))
        row.refresh_from_db()
        seen.append((row.last_used_at - NOW).seconds)
    assert seen == [0, 0, 0, 60, 60, 60, 120]
    with CaptureQueriesContext(connection) as queries:
        use(token, NOW + timedelta(seconds=121))
    assert len(queries) == 2
    assert not [query for query in queries if "UPDATE" in query["sql"]]


def test_a_stale_look_does_not_move_the_last_use_back_and_forth(device):
    row, token = make(device)
    use(token)
    first, second = tokens.check(token, NOW), tokens.check(token, NOW)
    tokens.used(first, NOW + 5 * MINUTE)
    tokens.used(second, NOW + 5 * MINUTE + timedelta(seconds=1))
    row.refresh_from_db()
    assert row.last_used_at == NOW + 5 * MINUTE


def test_a_device_has_five_good_tokens_at_most_and_one_place_is_kept_for_rotation(device):
    made = [make(device) for _ in range(4)]
    assert refusal(make, device) == (409, "token_limit")
    rotate(made[0][1])
    assert good(device) == 5
    assert refusal(rotate, made[1][1]) == (409, "token_limit")
    rotate(made[0][1])  # instead of the one nobody has used
    assert good(device) == 5
    tokens.revoke(made[2][0], "spare", None, NOW)
    tokens.revoke(made[3][0], "spare", None, NOW)
    make(device)
    assert refusal(make, device, NOW) == (409, "token_limit")
    make(device, NOW + 366 * DAY)  # those that have ended do not count
