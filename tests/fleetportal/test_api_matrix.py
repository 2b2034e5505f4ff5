"""The table of roles and verbs in docs/api.md says what the code does."""

import re
from pathlib import Path

import pytest
from django.urls import get_resolver

from devices.api.base import Known
from devices.api.tenants import MemberView
from devices.people.permissions import scope_of
from devices.people.scopes import ROLE_SCOPES
from firmware.api.base import View as FirmwareView
from telemetry.api_exports import ExportView
from tests.factories import TenantFactory, member
from tests.fleetportal import world

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
OPEN = {"provision", "token", "access-token", "telemetry", "firmware-keys", "schema"}
HEAD = ["| route | verb | scope | viewer | operator | owner |", "|---|---|---|---|---|---|"]


OWN = {(ExportView, "DELETE"), (MemberView, "DELETE")}
"""What is for whoever asked for it, and for oneself."""


def rows():
    for each in get_resolver().url_patterns:
        route, view = str(each.pattern), getattr(getattr(each, "callback", None), "view_class", None)
        if not route.startswith("api/v1/") or view is None or each.name in OPEN:
            continue
        address = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.removeprefix("api/v1"))
        for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
            if method in view().allowed_methods:
                yield address, method, *_may(view, method)


def _may(view, method):
    """The scope, and who of a tenant's people may."""
    scope = scope_of(view, method)
    if issubclass(view, FirmwareView) and not (view.customers and method == "GET"):
        return scope, "staff", "staff", "staff"
    if scope is None:
        return "·" if Known in view.permission_classes else "–", "yes", "yes", "yes"
    if (view, method) in OWN:
        return scope, *["yes" if scope in ROLE_SCOPES[role] and view is MemberView else "own" for role in ROLE_SCOPES]
    looks = method == "GET" and getattr(view, "read_by_all", True)
    return scope, *["yes" if looks or scope in ROLE_SCOPES[role] else "" for role in ROLE_SCOPES]


def table():
    lines = [f"| `{address}` | {method} | {' | '.join(cells)} |" for address, method, *cells in rows()]
    return "\n".join([*HEAD, *lines])


def test_the_page_tells_what_holds():
    """Where it differs: put `table()` between the two comments."""
    text = PAGE.read_text()
    told = text.partition("holds it -->\n")[2].partition("\n<!-- end of matrix -->")[0]
    assert told == table()


@pytest.mark.django_db
@pytest.mark.parametrize("role", list(ROLE_SCOPES))
def test_what_the_page_tells_is_what_happens(client, ca, role):
    """An empty request to each: 403 where the table says so, and nowhere else."""
    device = world.add(TenantFactory())
    owner, user = member(device.tenant), member(device.tenant, role)
    client.force_login(user)
    values = {
        "device_id": device.device_id,
        "device_type": device.device_type.slug,
        "tenant": device.tenant.slug,
        "site": device.site_id,
        "member": owner.memberships.get().pk,
        "invitation": device.tenant.invitations.get().pk,
        "campaign": device.updates.order_by("pk")[0].campaign_id,
        "act": "pause",
    }
    wrong = []
    for address, method, scope, *cells in rows():
        if "{pk}" in address or "own" in cells:
            continue
        path = "/api/v1" + re.sub(r"{(\w+)}", lambda found: str(values[found[1]]), address)
        status = client.generic(method, path, "{}", content_type="application/json").status_code
        cell = cells[list(ROLE_SCOPES).index(role)]
        if (status == 403) != (cell in ("", "staff")) or status >= 500:
            wrong.append((method, path, scope, cell, status))
    assert wrong == []
