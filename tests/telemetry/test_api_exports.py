"""The API of exports: asked for, watched, fetched and removed, each by its tenant alone."""

from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from devices.models import Membership
from devices.people import api_tokens
from devices.people.scopes import READINGS_READ
from telemetry import api_exports
from telemetry.exporting import exports
from telemetry.models import Export
from telemetry.store import store
from tests.factories import DeviceFactory, SchemaFactory, StaffFactory, UserFactory, member
from tests.telemetry.messages import noon, row

pytestmark = pytest.mark.django_db
LIST = "/api/v1/exports"
HOUR = timedelta(hours=1)


@pytest.fixture
def device(days):
    schema = SchemaFactory()
    device = DeviceFactory(device_type=schema.device_type)
    with transaction.atomic():
        store([row(device, schema, noon(), 20)])
    return device


@pytest.fixture
def owner(device, client):
    user = member(device.tenant)
    client.force_login(user)
    return user


def body(*devices, **changes):
    since, until = noon() - HOUR, noon() + HOUR
    ids = [getattr(each, "device_id", each) for each in devices]
    return {"devices": ids, "since": since.isoformat(), "until": until.isoformat()} | changes


def post(client, told):
    return client.post(LIST, told, content_type="application/json")


def made(client, device, run=True):
    answer = post(client, body(device))
    assert answer.status_code == 202, answer.json()
    if run:
        exports.run(answer.json()["id"])
    return answer.json()


def test_one_is_asked_for_watched_and_fetched(client, device, owner):
    answer = post(client, body(device, resolution="reading", format="csv"))
    assert answer.status_code == 202
    told = answer.json()
    assert answer["Location"] == told["url"]
    assert (told["state"], told["percent"], told["file_url"]) == ("waiting", 0, None)
    assert (told["devices"], told["requested_by"]) == ([device.device_id], owner.username)
    assert client.get(told["url"] + "/file").status_code == 410
    exports.run(told["id"])
    done = client.get(told["url"]).json()
    assert (done["state"], done["percent"], done["rows"]) == ("done", 100, 1)
    file = client.get(done["file_url"])
    assert file.status_code == 200
    assert file["Content-Type"].startswith("text/csv")
    assert file["Content-Disposition"].startswith('attachment; filename="')
    assert device.tenant.slug in file["Content-Disposition"]
    assert "no-store" in file["Cache-Control"]
    content = b"".join(file.streaming_content)
    assert len(content) == int(file["Content-Length"]) == done["size"]
    assert device.device_id.encode() in content


def test_is_sent_block_by_block_where_the_portal_is_served(device, owner, monkeypatch):
    """Under ASGI, where Django would read a file's usual answer as a whole."""
    monkeypatch.setattr(api_exports, "_BLOCK", 10)
    export = exports.request(owner, [device.device_id], noon() - HOUR, noon() + HOUR, "csv", "reading", timezone.now())
    exports.run(export.pk)
    export.refresh_from_db()

    async def fetched():
        client = AsyncClient()
        await client.aforce_login(owner)
        answer = await client.get(reverse("export-file", args=[export.pk]))
        return [block async for block in answer.streaming_content]

    blocks = async_to_sync(fetched)()
    assert len(blocks) > 10
    with exports.open_file(export) as file:
        assert b"".join(blocks) == file.read()


def test_the_list_is_newest_first_by_cursor(client, device, owner):
    ids = [made(client, device, run=False)["id"] for _ in range(3)]
    first = client.get(LIST, {"limit": 2}).json()
    assert [each["id"] for each in first["results"]] == ids[:0:-1]
    rest = client.get(first["next"]).json()
    assert [each["id"] for each in rest["results"]] == ids[:1]


def test_the_list_costs_the_same_however_long(client, device, owner, django_assert_num_queries):
    for _ in range(2):
        made(client, device, run=False)
    with django_assert_num_queries(5):  # session, user, their second factor, exports, their devices
        client.get(LIST)


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"devices": []}, "$.devices", "invalid"),
        ({"devices": ["d-nobody"]}, "$.devices[0]", "device_unknown"),
        ({"devices": "d-x"}, "$.devices", "invalid"),
        ({"devices": [7]}, "$.devices[0]", "invalid"),
        ({"devices": ["x\0"]}, "$.devices[0]", "invalid"),
        ({"since": "yesterday"}, "$.since", "invalid"),
        ({"since": "2099-01-01T00:00:00Z"}, "$.until", "range_empty"),
        ({"since": "2000-01-01T00:00:00Z"}, "$.since", "range_too_long"),
        ({"since": "0001-01-01T00:00:00Z"}, "$.since", "invalid"),
        ({"until": "9999-12-31T23:59:59Z", "since": "9999-12-31T00:00:00Z"}, "$.since", "invalid"),
        ({"since": "2026-11-21T00:00:00"}, "$.since", "invalid"),
        ({"format": "xlsx"}, "$.format", "invalid"),
        ({"resolution": "day"}, "$.resolution", "invalid"),
        ({"tenant": "x"}, "$.tenant", "invalid"),
    ],
)
def test_a_mistake_has_a_path(client, device, owner, changes, path, code):
    answer = post(client, body(device) | changes)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert (answer.json()["error_code"], answer.json()["path"]) == (code, path)
    assert not Export.objects.exists()


def test_too_many_at_once_are_told(client, device, owner):
    for _ in range(exports.MAX_OPEN):
        made(client, device, run=False)
    answer = post(client, body(device))
    assert (answer.status_code, answer.json()["error_code"]) == (429, "too_many_exports")


def test_a_foreign_device_is_like_none(client, device, owner):
    foreign, nobody = (post(client, body(each)).json() for each in (DeviceFactory(), "d-nobody"))
    assert foreign.pop("correlation_id") != nobody.pop("correlation_id")
    assert foreign == nobody


def test_another_tenants_export_is_like_none(client, device, owner):
    told = made(client, device)
    stranger = member(DeviceFactory().tenant)
    client.force_login(stranger)
    for verb, url in [("get", told["url"]), ("delete", told["url"]), ("get", told["url"] + "/file")]:
        foreign, missing = getattr(client, verb)(url), getattr(client, verb)(url.replace(f"{told['id']}", "999999"))
        assert (foreign.status_code, missing.status_code) == (404, 404)
        a, b = foreign.json(), missing.json()
        a.pop("correlation_id"), b.pop("correlation_id")
        assert a == b
    assert client.get(LIST).json()["results"] == []
    assert Export.objects.get().is_there


def test_a_viewer_may_export_and_fetch_what_colleagues_asked_for(client, device, owner):
    told = made(client, device)
    client.force_login(member(device.tenant, Membership.Role.VIEWER))
    assert client.get(told["url"] + "/file").status_code == 200
    assert post(client, body(device)).status_code == 202
    assert client.delete(told["url"]).status_code == 403
    assert Export.objects.get(pk=told["id"]).is_there


def test_removing_it_twice_is_like_once(client, device, owner):
    told = made(client, device)
    assert [client.delete(told["url"]).status_code for _ in range(2)] == [204, 204]
    assert client.get(told["url"] + "/file").status_code == 410
    waiting = made(client, device, run=False)
    assert client.delete(waiting["url"]).status_code == 204
    assert client.get(waiting["url"]).json()["state"] == "canceled"


def test_a_token_of_staff_who_are_members_removes_what_they_asked_for_and_no_more(client, device, owner):
    told = made(client, device, run=False)
    staff = StaffFactory()
    device.tenant.memberships.create(user=staff, role="viewer")
    life = timedelta(days=1)
    token = api_tokens.make(staff, device.tenant, "x", [READINGS_READ], life, timezone.now())[1]
    headers = {"Authorization": f"Bearer {token}"}
    assert Client().delete(told["url"], headers=headers).status_code == 403
    client.force_login(staff)
    assert client.delete(told["url"]).status_code == 204


def test_which_of_our_people_helped_is_not_told(client, device, owner):
    staff = StaffFactory(username="sam")
    client.force_login(staff)
    told = made(client, device, run=False)
    assert told["requested_by"] == "sam"
    client.force_login(owner)
    assert client.get(told["url"]).json()["requested_by"] == "staff"


@pytest.mark.parametrize("verb", ["get", "post"])
def test_nobody_in_particular_gets_nothing(client, device, verb):
    assert getattr(client, verb)(LIST).status_code in (401, 403)
    client.force_login(UserFactory())
    assert client.get(LIST).json()["results"] == []


def test_the_index_names_it(client, owner):
    told = client.get(reverse("api-index")).json()
    assert told["exports_url"].partition("{")[0].endswith(LIST)
