"""Secrets that are part of an address do not get into the log."""

import pytest
from django.utils import timezone

from devices.people import invitations
from fleetportal.request_log import RequestLog
from tests.factories import TenantFactory, member

SECRET = "x7Kq-3vB_81k"


@pytest.mark.parametrize(
    ("address", "logged"),
    [
        (f"/invitation/{SECRET}/", "GET /invitation/…/"),
        ("/invitation/", "GET /invitation/"),
        (f"/account/password/reset/key/1-{SECRET}/", "GET /account/password/reset/key/…/"),
        (f"/account/confirm-email/{SECRET}/", "GET /account/confirm-email/…/"),
        (f"/devices/add/?code={SECRET}", "GET /devices/add/"),
        (f"/sign-in/?next=/invitation/{SECRET}/", "GET /sign-in/"),
        ("/devices/d-1/", "GET /devices/d-1/"),
    ],
)
def test_the_line_of_a_request(rf, address, logged):
    assert RequestLog.format_request(rf.get(address)) == logged


@pytest.mark.django_db
def test_the_lines_of_a_visit_have_no_secret(client, caplog):
    caplog.set_level("INFO", logger="django_structlog")
    tenant = TenantFactory()
    _, token = invitations.invite(tenant, "ann@example.com", "viewer", member(tenant), timezone.now())
    for address in (
        f"/invitation/{token}/",
        f"/account/password/reset/key/1-{SECRET}/",
        f"/devices/add/?code={SECRET}",
    ):
        client.get(address)
    assert caplog.text.count("request_finished") == 3
    assert token not in caplog.text
    assert SECRET not in caplog.text
