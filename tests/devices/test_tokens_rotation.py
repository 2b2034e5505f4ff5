"""A token is replaced by one that was seen at work, whatever is lost on the way and whoever does it at once."""

import threading
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection

from devices import lifecycle, tokens
from devices.errors import DomainError
from devices.models import Device, Event
from tests.devices.bearers import DAY, HOUR, MINUTE, NOW, good, make, refusal, rotate, use
from tests.factories import DeviceFactory, StaffFactory
from tests.fleetportal.workers import workers

pytestmark = pytest.mark.django_db


@pytest.fixture
def device():
    return DeviceFactory()


def test_the_old_one_is_good_until_the_new_one_was_used_and_an_hour_longer(device):
    old_row, old = make(device)
    new = rotate(old)
    assert use(old, NOW + 300 * DAY)  # proven by use, not by time
    use(new, NOW + 300 * DAY)
    assert use(old, NOW + 300 * DAY + HOUR - timedelta(seconds=1))
    assert refusal(use, old, NOW + 300 * DAY + HOUR) == (401, "token_expired")
    assert use(new, NOW + 300 * DAY + HOUR)
    old_row.refresh_from_db()
    assert str(old_row.replaced_by) == new[:12] + "…"
    kinds = ["token.made", "token.first_used", "token.rotated", "token.first_used"]
    assert list(Event.objects.filter(device=device).order_by("id").values_list("kind", flat=True)) == kinds
    assert Event.objects.filter(kind="token.rotated").get().actor == device.device_id


def test_the_overlap_is_a_setting_and_never_makes_a_token_live_longer(device, settings):
    settings.TOKEN_OVERLAP = timedelta(days=30)
    row, old = make(device, lifetime=10 * DAY)
    use(rotate(old))
    row.refresh_from_db()
    assert row.expires_at == NOW + 10 * DAY


def test_using_the_new_one_again_does_not_prolong_the_overlap(device):
    row, old = make(device)
    new = rotate(old)
    for minutes in (0, 10, 50, 59):
        use(new, NOW + minutes * MINUTE)
    row.refresh_from_db()
    assert row.expires_at == NOW + HOUR


def test_a_successor_lives_as_long_as_its_predecessor_was_made_for(device):
    old = make(device, lifetime=30 * DAY)[1]
    row = use(rotate(old, NOW + 20 * DAY), NOW + 20 * DAY)
    assert row.expires_at == NOW + 50 * DAY


def test_lost_answers_pile_up_no_tokens_and_lock_nobody_out(device):
    old = make(device)[1]
    lost = [rotate(old, NOW + number * MINUTE) for number in range(20)]
    assert good(device) == 2
    for each in lost[:-1]:
        assert refusal(use, each) == (401, "token_revoked")
    assert use(old, NOW + 364 * DAY)
    use(lost[-1], NOW + 364 * DAY)
    assert refusal(use, old, NOW + 364 * DAY + HOUR) == (401, "token_expired")


def test_a_successor_at_work_is_not_withdrawn_by_who_holds_the_old_one(device):
    """Whoever stole the old token within the overlap gets no new life out of it."""
    old = make(device)[1]
    new = rotate(old)
    use(new)
    assert refusal(rotate, old) == (409, "token_replaced")
    assert use(new)


def test_a_chain_of_successors_that_nobody_used_ends_all_it_replaces(device):
    """Staff rotate what they have just rotated: the token in the field is replaced by the last one, all the same."""
    staff = StaffFactory()
    field, in_field = make(device)
    use(in_field)
    first, on_paper = tokens.rotate(field, NOW, user=staff)
    _, newer = tokens.rotate(first, NOW, user=staff)
    assert use(in_field) and tokens.check(on_paper, NOW)
    use(newer)
    for each in (in_field, on_paper):
        assert tokens.check(each, NOW + HOUR - MINUTE)
        assert refusal(tokens.check, each, NOW + HOUR) == (401, "token_expired")


def test_after_a_used_successor_was_revoked_the_old_one_gets_another_of_full_life(device):
    old = make(device)[1]
    new = rotate(old)
    tokens.revoke(use(new), "leaked", None, NOW)
    again = rotate(old, NOW + MINUTE)
    assert use(again, NOW + MINUTE).expires_at == NOW + MINUTE + 365 * DAY


def test_after_an_unused_successor_was_revoked_the_old_one_goes_on(device):
    row, old = make(device)
    successor, _ = tokens.rotate(use(old), NOW)
    tokens.revoke(successor, "seen on a screen", None, NOW)
    row.refresh_from_db()
    assert tokens.state_of(row, NOW) == ("active", "Active")
    use(rotate(old))
    assert refusal(use, old, NOW + HOUR) == (401, "token_expired")


def test_what_is_not_good_is_not_rotated(device):
    row, token = make(device)
    held = use(token)
    assert refusal(tokens.rotate, held, NOW + 365 * DAY) == (401, "token_expired")
    tokens.revoke(row, "x", None, NOW)
    assert refusal(tokens.rotate, held, NOW) == (401, "token_revoked")


def test_a_decommissioned_device_keeps_none_and_gets_none(device):
    row, token = make(device)
    new = rotate(token)
    lifecycle.decommission(device, "scrapped", None, NOW)
    assert {refusal(tokens.check, each, NOW) for each in (token, new)} == {(401, "token_revoked")}
    assert refusal(make, device) == (409, "device_not_active")
    assert refusal(tokens.rotate, row, NOW) == (409, "device_not_active")


def test_a_registered_device_is_in_service_once_it_speaks():
    device = DeviceFactory(state="registered")
    token = make(device)[1]
    assert Device.objects.get().state == "registered"
    use(token)
    assert Device.objects.get().state == "active"


def test_a_quarantine_does_not_end_by_speaking(device):
    token = make(device)[1]
    Device.objects.update(state="quarantined")
    use(token)
    assert Device.objects.get().state == "quarantined"


def test_states_for_people(device):
    row, token = make(device)
    assert tokens.state_of(row, NOW) == ("pending", "Never used")
    assert tokens.state_of(use(token), NOW) == ("pending", "Never used")  # as it was when it was looked at
    row.refresh_from_db()
    assert tokens.state_of(row, NOW) == ("active", "Active")
    tokens.rotate(row, NOW)
    row.refresh_from_db()
    assert tokens.state_of(row, NOW) == ("retiring", "Being replaced")
    assert tokens.state_of(row, NOW + 366 * DAY) == ("expired", "Expired")
    tokens.revoke(row, "x", None, NOW)
    row.refresh_from_db()
    assert tokens.state_of(row, NOW + 366 * DAY) == ("revoked", "Revoked")


# --- two at once ----------------------------------------------------------------------------------------------------


def at_once(*calls):
    """Run these in workers of their own, as nearly at once as can be; what each returned or refused."""
    together = threading.Barrier(len(calls))

    def run(call):
        connection.ensure_connection()
        together.wait(20)
        try:
            return call()
        except DomainError as error:
            return error.code

    with workers(len(calls)) as team:
        return [each.result(30) for each in [worker.begin(run, call) for worker, call in zip(team, calls, strict=True)]]


def is_good(token):
    try:
        return bool(tokens.check(token, NOW))
    except DomainError:
        return False


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_rotate_at_once_leave_one_successor():
    for _ in range(10):
        device = DeviceFactory()
        old = make(device)[1]
        use(old)
        made = at_once(*[lambda token=old: rotate(token)] * 3)
        assert [is_good(each) for each in made].count(True) == 1
        assert is_good(old)
        assert good(device) == 2


@pytest.mark.django_db(transaction=True)
def test_using_the_new_one_while_it_is_rotated_away_never_locks_the_device_out():
    """Either it was used, and the rotation is refused; or it was withdrawn, and the old one and the newest are good."""
    for _ in range(15):
        device = DeviceFactory()
        row, old = make(device)
        new = rotate(old)
        used, rotated = at_once(lambda token=new: bool(use(token)), lambda token=old: rotate(token))
        row.refresh_from_db()
        if used is True:
            assert rotated == "token_replaced"
            assert is_good(new)
            assert row.expires_at == NOW + HOUR
        else:
            assert used == "token_revoked"
            assert is_good(rotated)
            assert row.expires_at == NOW + 365 * DAY
        assert is_good(old)


@pytest.mark.django_db(transaction=True)
def test_workers_that_make_tokens_at_once_keep_to_the_limit():
    device = DeviceFactory()
    made = at_once(*[lambda: bool(make(device))] * 7)
    assert made.count(True) == 4
    assert made.count("token_limit") == 3
    assert good(device) == 4


@pytest.mark.django_db(transaction=True)
def test_a_token_made_while_its_device_is_decommissioned_is_not_good():
    for _ in range(10):
        device = DeviceFactory()
        at_once(partial(make, device), partial(lifecycle.decommission, device, "scrapped", None, NOW))
        assert good(device) == 0


@pytest.mark.django_db(transaction=True)
def test_workers_that_use_a_token_at_once_prove_it_once():
    device = DeviceFactory()
    new = rotate(make(device)[1])
    assert at_once(*[lambda: bool(use(new))] * 4) == [True] * 4
    assert Event.objects.filter(kind="token.first_used", detail__token=new[:12]).count() == 1
