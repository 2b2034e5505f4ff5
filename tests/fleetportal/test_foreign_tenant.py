"""No route shows or changes anything of another tenant: every route there is, every method, whoever asks.

Made of the URL configurations themselves. A route with a parameter that is not taught below fails here: none can be
forgotten. The sockets are in test_foreign_sockets.py.
"""

import json
import re
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from devices.models import ApiToken, Device, Group, Invitation, Membership, SavedView, Site
from devices.people import api_tokens
from devices.tenancy import COMPANY, PERSONAL, ROOMS
from firmware.models import Release
from telemetry.models import Export
from tests.factories import TenantFactory, member, put_back
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
METHODS = ("get", "head", "post", "put", "patch", "delete")
PUBLIC = {"crl", "invitation-link", "account_reset_password_from_key", "account_confirm_email"}
"""Routes whose parameter leads to no tenant's row."""
ROWS = {
    "export": Export, "export-file": Export, "export-remove": Export, "view-remove": SavedView, "api-site": Site,
    "token-revoke": ApiToken, "api-token": ApiToken, "team-member-role": Membership, "team-member-remove": Membership,
    "api-member": Membership, "team-invitation-revoke": Invitation, "api-invitation": Invitation, "api-group": Group,
    "release": Release, "release-artifact": Release, "release-sbom": Release,
}  # fmt: skip
"""Of which model the `pk` in a route is."""
MODELS = [
    model
    for room in ROOMS
    for model in apps.get_app_config(room).get_models()
    if not model._meta.auto_created and model.tenant_path not in (COMPANY, PERSONAL)
]


def routes(urlconf=None, patterns=None, prefix=""):
    """(route, name) of a URL configuration."""
    for each in patterns if patterns is not None else get_resolver(urlconf).url_patterns:
        if isinstance(each, URLPattern):
            yield prefix + str(each.pattern), each.name or ""
        elif isinstance(each, URLResolver):
            yield from routes(None, each.url_patterns, prefix + str(each.pattern))


def is_the_staffs(route):
    """Is it a page of the admin?"""
    return route.startswith("admin/")


EVERY = sorted(set(routes()))
ROUTES = [(route, name) for route, name in EVERY if not is_the_staffs(route)]
ADMIN = [route for route, _ in EVERY if is_the_staffs(route)]
DEVICE = sorted(set(routes("fleetportal.device_urls")))


@pytest.fixture(scope="module")
def tenants(_authorities, django_db_blocker):
    """A device of each of two companies that have rows of every kind; made once, gone after this module."""
    with django_db_blocker.unblock(), transaction.atomic():
        put_back(_authorities)
        own = world.add(TenantFactory(name="Own Incorporated"), 8)
        foreign = world.add(TenantFactory(name="Foreign Limited"), 7)
        person = member(own.tenant, "owner")
        Membership.objects.create(user=person, tenant=foreign.tenant, role="owner")
        yield Two(own, foreign, person, snapshot(foreign.tenant), marks(foreign, own))
        transaction.set_rollback(True)


@dataclass(frozen=True)
class Two:
    """Two companies that know nothing of each other, but for one person who works for both."""

    own: Device
    foreign: Device
    person: User
    rows: dict
    """All of the foreign one's."""
    marks: set[str]
    """What nobody outside may read."""


@pytest.fixture
def two(tenants, db):
    return tenants


def snapshot(tenant):
    """Every row of a tenant, by model."""
    rows = {}
    for model in MODELS:
        found = model._base_manager.filter(**{model.tenant_path: tenant.pk}).order_by("pk")
        rows[model._meta.label] = [dict(row) for row in found.values()]
    rows["groups"] = list(Group.devices.through.objects.filter(device__tenant=tenant).order_by("pk").values_list())
    return rows


def texts(value):
    """Every text in it that could tell somebody something."""
    if isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str) and len(value) >= 6:
        yield value


def marks(foreign, own):
    """What no page may say: all texts of the one tenant that the other does not have."""
    return set(texts(snapshot(foreign.tenant))) - set(texts(snapshot(own.tenant)))


def address(route, name, device):
    """The route with this device's and its tenant's values as parameters. One that nobody foresaw is a KeyError."""
    values = {
        "device_id": device.device_id,
        "tenant": device.tenant.slug,
        "slug": device.tenant.slug,
        "device_type": device.device_type.slug,
        "act": "pause",
        "token": "nonsense",
        "client_id": "nobody",
        "key": "nonsense",
        "uidb36": "1",
        "authority": "1",
        "update_id": "00000000-0000-0000-0000-000000000000",
        "label": "nothing",
        "runbook": "backlog",
    }
    found = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", r"<\1>", route)
    found = found.replace("^", "").replace("$", "").replace("\\", "")

    def fill(match):
        parameter = match[1]
        if parameter == "campaign":
            return str(device.updates.order_by("pk")[0].campaign_id)
        if parameter in ("pk", "site", "member", "invitation"):
            return str(row_of(name, device).pk)
        return values[parameter]

    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", fill, found)


def row_of(name, device):
    """The row of this device's tenant to which the `pk` of a route leads."""
    if name.startswith("mfa_") or name == "session-end":
        return device  # keys and sessions are the person's own, and there are none
    model = ROWS[name]
    if model is SavedView:
        return SavedView.objects.filter(user__memberships__tenant=device.tenant)[0]
    if model is Release:
        return device.updates.order_by("pk")[0].release
    return model._base_manager.filter(**{model.tenant_path: device.tenant})[0]


def asked(device):
    """What somebody would send who wants something of this device."""
    return {
        "device": device.device_id, "devices": [device.device_id], "tenant": device.tenant.slug, "q": device.name,
        "site": device.site_id, "type": device.device_type.slug, "device_type": device.device_type.slug,
        "group": device.groups.get().pk, "groups": [device.groups.get().pk], "metric": "temperature_c",
        "role": "owner", "email": "intruder@example.com", "reason": "because", "name": "Taken over",
        "tags": ["taken"], "code": "0000-0000-0000-0000", "scopes": ["devices:read"], "format": "csv",
        "since": "2026-11-01T00:00:00Z", "until": "2026-11-02T00:00:00Z", "first": "2026-11-01", "last": "2026-11-02",
        "resolution": "hour", "hardware_id": device.hardware_id, "next": f"/devices/{device.device_id}/",
        "release": device.updates.order_by("pk")[0].release_id, "lifetime_days": 30, "days": 30,
    }  # fmt: skip


def sent(device, path):
    """What we say ourselves, and may hear again."""
    return json.dumps(asked(device), ensure_ascii=False) + path


def clients(two):
    """Those who come to a door. All are owners: none lacks the role."""
    outsider = Client()
    outsider.force_login(member(two.own.tenant, "owner"))
    yield "a member of another tenant", outsider
    scopes = ["devices:read", "devices:write", "readings:read", "firmware:read", "team:manage"]
    _, token = api_tokens.make(two.person, two.own.tenant, "all", scopes, timedelta(days=1), timezone.now())
    yield "a token for another tenant, of a member of both", Client(HTTP_AUTHORIZATION=f"Bearer {token}")
    yield "nobody", Client()


def ask(client, method, path, question) -> HttpResponse:
    if method in ("get", "head"):
        return getattr(client, method)(path, {k: v for k, v in question.items() if not isinstance(v, list)})
    if path.startswith("/api/v1/"):
        key = {"HTTP_IF_MATCH": "*", "HTTP_IDEMPOTENCY_KEY": f"{method}{path}"}
        return getattr(client, method)(path, json.dumps(question), content_type="application/json", **key)
    if method == "post":
        return client.post(path, question)
    return getattr(client, method)(path)


def said(answer):
    body = b"".join(answer) if answer.streaming else answer.content
    return body.decode(errors="replace") + "\n".join(f"{name}: {value}" for name, value in answer.headers.items())


@pytest.mark.parametrize(("route", "name"), ROUTES, ids=[route or "/" for route, _ in ROUTES])
def test_nothing_of_another_tenant_is_shown_or_changed(two, route, name):
    path, question = address(route, name, two.foreign), asked(two.foreign)
    ours = sent(two.foreign, path)
    hidden = {mark for mark in two.marks if mark not in ours}
    assert len(hidden) > 10
    leads_there = "<" in route and name not in PUBLIC
    for who, client in clients(two):
        for method in METHODS:
            answer = ask(client, method, path, question)
            assert not (leads_there and 200 <= answer.status_code < 300), (who, method, path, answer.status_code)
            text = said(answer)
            assert [mark for mark in hidden if mark in text] == [], (who, method, path)
    assert snapshot(two.foreign.tenant) == two.rows


def test_the_staffs_pages_are_closed(two):
    """Every page of the admin, with the key of a row that is there."""
    assert len(ADMIN) > 100
    question, hidden = asked(two.foreign), {mark for mark in two.marks if mark not in sent(two.foreign, "")}
    for who, client in clients(two):
        for route in ADMIN:
            path = re.sub(r"\(\?P<\w+>[^)]*\)", "devices", route).replace("^", "").replace("$", "").replace("\\", "")
            path = "/" + re.sub(r"<[^>]*>", str(two.foreign.pk), path)
            for method in ("get", "post"):
                answer = ask(client, method, path, question)
                assert answer.status_code in (301, 302, 403, 404, 405), (who, method, path)
                text = said(answer)
                assert [mark for mark in hidden if mark in text] == [], (who, method, path)
    assert snapshot(two.foreign.tenant) == two.rows


@pytest.mark.parametrize(("route", "name"), DEVICE, ids=[route for route, _ in DEVICE])
def test_the_devices_door_says_nothing_to_who_has_no_credential(two, route, name, settings):
    settings.ROOT_URLCONF = "fleetportal.device_urls"
    path = address(route, name, two.foreign)
    hidden = {mark for mark in two.marks if mark not in sent(two.foreign, path)}
    for method in METHODS:
        text = said(ask(Client(), method, path, asked(two.foreign)))
        assert [mark for mark in hidden if mark in text] == [], method
    assert snapshot(two.foreign.tenant) == two.rows


def test_it_finds_what_is_shown_to_the_wrong_people(two):
    """The proof of the proof: somebody who may see it does."""
    client = Client()
    client.force_login(two.person)
    text = said(client.get(f"/devices/{two.foreign.device_id}/"))
    assert [mark for mark in two.marks if mark in text]
    assert client.patch(
        f"/api/v1/devices/{two.foreign.device_id}",
        json.dumps({"name": "Taken over"}), content_type="application/json", HTTP_IF_MATCH="*",
    ).status_code in (200, 428)  # fmt: skip
