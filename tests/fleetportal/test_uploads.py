"""How long a body the portal takes, and from whom; nothing of a longer one is kept."""

import asyncio
import json
from datetime import timedelta

import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.test import Client
from django.utils import timezone

from firmware import upload_tokens
from fleetportal import uploads
from fleetportal.bodies import Limited
from tests.factories import DeviceTypeFactory, StaffFactory, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)
MIB = 1024 * 1024
WAIT = 5


def limit(path, length=100 * MIB, **headers):
    told = {"content-length": str(length)} | {name.replace("_", "-").lower(): text for name, text in headers.items()}
    raw = [(name.encode(), text.encode()) for name, text in told.items() if text]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": raw, "server": ("t", 80)}
    return asyncio.run(uploads.limit(scope))


def session(user):
    client = Client()
    client.force_login(user)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


@pytest.fixture
def token():
    return upload_tokens.make("CI", [DeviceTypeFactory()], timezone.now() + timedelta(days=1), None)[1]


def test_a_release_may_be_long_from_a_good_token_and_from_staff(token):
    most = settings.MAX_ARTIFACT_BYTES
    assert limit("/api/v1/releases", Authorization=f"Bearer {token}") > most
    for path in ("/api/v1/releases", "/admin/firmware/release/add/"):
        assert limit(path, Cookie=session(StaffFactory())) > most
    assert limit("/admin/devices/device/import/", Cookie=session(StaffFactory())) == uploads.ADMIN_BYTES


def test_nobody_else_sends_a_long_body(token):
    usual = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    strangers = [
        {},
        {"Authorization": f"Bearer {token}x"},
        {"Authorization": "Bearer"},
        {"Cookie": "sessionid=nonsense"},
    ]
    strangers += [{"Cookie": session(UserFactory())}, {"Cookie": session(StaffFactory(is_active=False))}]
    for headers in strangers:
        for path in ("/api/v1/releases", "/admin/firmware/release/add/", "/admin/login/"):
            assert limit(path, **headers) == usual, headers
    for path in ("/", "/api/v1/telemetry", "/sign-in/", "/api/v1/devices/provision"):
        assert limit(path, Authorization=f"Bearer {token}") == usual


def test_short_bodies_ask_nothing_of_the_database(token, django_assert_num_queries):
    with django_assert_num_queries(0):
        for length in ("0", "1000", str(settings.DATA_UPLOAD_MAX_MEMORY_SIZE), "nonsense", ""):
            assert limit("/api/v1/releases", length, Authorization=f"Bearer {token}") == 2**20


def test_more_than_was_told_ends_the_request():
    async def application(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        raise AssertionError("it came through")

    async def ten(scope):
        return 10

    async def main():
        for told, bodies in ((b"11", [b""]), (b"x", [b""]), (b"10", [b"12345", b"678901"]), (b"0", [b"x" * 11])):
            scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", told)]}
            caller = ApplicationCommunicator(Limited(application, ten), scope)
            for body in bodies:
                await caller.send_input({"type": "http.request", "body": body, "more_body": True})
            head = await caller.receive_output(WAIT)
            assert (head["status"], dict(head["headers"])[b"connection"]) == (413, b"close")
            assert b"too long" in (await caller.receive_output(WAIT))["body"]
            await caller.wait(WAIT)
        scope |= {"path": "/api/v1/devices", "headers": [(b"content-length", b"11")]}
        caller = ApplicationCommunicator(Limited(application, ten), scope)
        head = await caller.receive_output(WAIT)
        assert dict(head["headers"])[b"content-type"] == b"application/problem+json"
        told = json.loads((await caller.receive_output(WAIT))["body"])
        assert (told["status"], told["error_code"]) == (413, "too_large")

    asyncio.run(main())
