"""The global stop for apps."""

import json

import pytest
from django.utils import timezone

from devices.models import Event
from firmware import campaigns
from firmware.models import Stop
from tests.factories import TenantFactory, UserFactory, member
from tests.fleetportal.world import staff

pytestmark = pytest.mark.django_db
URL = "/api/v1/ota/stop"


def ask(client, user, method="get", body=None):
    client.force_login(user)
    options = {} if method == "get" else {"data": json.dumps(body), "content_type": "application/json"}
    return getattr(client, method)(URL, **options)


@pytest.fixture
def operator():
    return staff("Fleet operator")


def test_nothing_is_stopped_at_first(client, operator):
    assert ask(client, operator).json() == {"stopped": False, "since": None, "by": None, "reason": ""}


def test_a_stop_is_told_with_who_and_why(client, operator):
    answer = ask(client, operator, "post", {"reason": "smoke"})
    assert answer.status_code == 201
    found = ask(client, operator).json()
    assert found == answer.json()
    assert (found["stopped"], found["by"], found["reason"]) == (True, operator.get_username(), "smoke")
    assert Stop.objects.get().started_by == operator


def test_a_second_stop_is_the_first_one(client, operator):
    first = ask(client, operator, "post", {"reason": "smoke"}).json()
    second = ask(client, operator, "post", {"reason": "more smoke"})
    assert (second.status_code, second.json()) == (200, first)


def test_it_is_lifted_once(client, operator):
    ask(client, operator, "post", {"reason": "smoke"})
    answer = ask(client, operator, "delete", {"reason": "it was the toaster"})
    assert (answer.status_code, answer.json()["stopped"]) == (200, False)
    assert Stop.objects.get().ended_by == operator
    again = ask(client, operator, "delete", {"reason": "it was the toaster"})
    assert (again.status_code, again.json()["error_code"]) == (409, "not_stopped")
    assert Event.objects.filter(user=operator, reason="it was the toaster").exists()


@pytest.mark.parametrize("method", ["post", "delete"])
@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 201}, {"why": "x"}], ids=range(4))
def test_both_ask_for_a_reason(client, operator, method, body):
    answer = ask(client, operator, method, body)
    assert answer.status_code == 400
    assert answer.json()["path"] in ("$.reason", "$.why")
    assert not Stop.objects.exists()


@pytest.mark.parametrize("role", ["Support", "Firmware approver"])
def test_others_look_and_do_not_lift(client, operator, role):
    campaigns.stop_all(operator, "smoke", timezone.now())
    person = staff(role)
    assert ask(client, person).json()["stopped"]
    assert ask(client, person, "delete", {"reason": "x"}).status_code == 403


def test_customers_are_not_told(client):
    for user in (member(TenantFactory()), UserFactory(is_staff=True)):
        for method in ("get", "post", "delete"):
            answer = ask(client, user, method, {"reason": "x"})
            assert (answer.status_code, answer.json()["error_code"]) == (403, "permission_denied")
    assert not Stop.objects.exists()


def test_nobody_is_let_in_without_signing_in(client):
    assert client.get(URL).status_code == 401
    assert client.post(URL).status_code == 401
