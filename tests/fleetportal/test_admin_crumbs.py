"""Where a page of the admin stands: the crumbs above it name its room, and everything by its name."""

import re

import pytest
from allauth.idp.oidc.models import Client
from django.utils.html import strip_tags

from devices import evidence
from tests.factories import StaffFactory, TenantFactory
from tests.fleetportal import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(client):
    user = StaffFactory(username="ruth")
    client.force_login(user)
    return user


def crumbs(page):
    found = re.search(r'<div class="breadcrumbs">(.*?)</div>', page.content.decode(), re.DOTALL)
    return " ".join(strip_tags(found[1]).replace("&rsaquo;", "›").split())


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("/admin/devices/device/", "Home › Devices"),
        ("/admin/devices/finding/", "Home › Devices › Findings"),
        ("/admin/devices/claim/", "Home › Identity › Claims"),
        ("/admin/devices/approval/", "Home › Identity › Approvals"),
        ("/admin/devices/invitation/", "Home › People › Invitations"),
        ("/admin/devices/apitoken/", "Home › People › API tokens"),
        ("/admin/devices/claim/add/", "Home › Identity › Claims › Add claim"),
    ],
)
def test_name_the_room_that_the_menu_shows_it_in(client, root, address, told):
    assert crumbs(client.get(address)) == told


def test_of_a_row_and_its_history_name_the_room_too(client, root, ca):
    device = world.add(TenantFactory(name="Acme"))
    row = f"/admin/devices/claim/{device.claim_id}/" if device.claim_id else f"/admin/devices/device/{device.pk}/"
    room = "Home › Identity › Claims › " if device.claim_id else "Home › Devices › "
    assert crumbs(client.get(f"{row}change/")).startswith(room)
    history = crumbs(client.get(f"{row}history/"))
    assert history.startswith(room) and history.endswith(" › History")


def test_an_app_is_called_by_its_name(client, root):
    app = Client.objects.create(id="c-7d1f", name="Service desk")
    page = client.get(f"/admin/allauth_idp_oidc/client/{app.pk}/change/")
    assert crumbs(page) == "Home › People › Apps › Service desk"


class TestWhatWasDone:
    LIST = "/admin/devices/event/"

    @pytest.fixture
    def events(self, root):
        evidence.record("device.online", detail={"name": "Pump"})
        evidence.record(
            "device.tagged",
            user=root,
            reason="Winter",
            detail={"changes": {"tags": [["cold"], ["cold", "dry"]]}, "of": "x"},
        )

    def kinds(self, client, query=""):
        return {row.kind for row in client.get(self.LIST + query).context["cl"].result_list}

    def test_opens_with_what_people_did(self, client, events):
        assert self.kinds(client) == {"device.tagged"}
        assert self.kinds(client, "?by=others") == {"device.online"}
        assert self.kinds(client, "?by=all") == {"device.online", "device.tagged"}
        assert self.kinds(client, "?what=device.") == {"device.online", "device.tagged"}

    def test_says_where_the_rest_is_while_nobody_did_anything(self, client, root):
        assert 'href="?by=all"' in client.get(self.LIST).content.decode()

    def test_tells_each_thing_once(self, client, events):
        row = client.get(self.LIST).context["cl"].result_list[0]
        context = client.get(f"{self.LIST}{row.pk}/change/").context
        assert context["changes"] == [("tags", "cold", "cold, dry")]
        assert context["rest"] == [("of", "x")]
