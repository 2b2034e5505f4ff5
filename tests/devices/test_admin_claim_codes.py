"""The staff's pages of claim codes: made as labels that are shown once, revoked, and nowhere else to be read."""

import re
from xml.etree import ElementTree

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.urls import reverse
from django.utils import timezone

from devices import claim_codes, claims, labels
from devices.models import ClaimCode, Event
from tests.devices import peers
from tests.factories import StaffFactory, TenantFactory, member
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
LIST = reverse("admin:devices_claimcode_changelist")
ADD = reverse("admin:devices_claimcode_add")
CODE = r"[0-9A-HJKMNP-TV-Z]{4}(?:-[0-9A-HJKMNP-TV-Z]{4}){3}"


@pytest.fixture
def claim():
    return claims.of_token(peers.claim_token(TenantFactory(slug="stock")))


def make(client, claim, text="SN-1\nSN-2, SN-3"):
    return client.post(ADD, {"claim": claim.pk, "hardware_ids": text}, follow=True)


def test_codes_are_shown_once_as_labels_and_each_is_good(client, claim):
    client.force_login(StaffFactory())
    answer = make(client, claim)
    page = answer.content.decode()
    table = re.findall(rf"(SN-\d),({CODE})", page)
    assert [name for name, _ in table] == ["SN-1", "SN-2", "SN-3"]
    assert "no-store" in answer.headers["Cache-Control"] and "unsafe" not in answer.headers["Content-Security-Policy"]
    assert len(re.findall(r"<svg[^>]*><path d=\"[MVHz0-9,]+\"", page)) == 3
    assert "<script>" not in page and "style=" not in page.split("<svg")[1].split("</svg>")[0]
    kept = str(
        [list(each.objects.values()) for each in (ClaimCode, Event, LogEntry, Session)]
        + [client.get(address).content for address in (LIST, reverse("admin:index"))]
    )
    tenant = TenantFactory()
    owner = member(tenant)
    for name, code in table:
        assert code not in kept
        assert claim_codes.redeem(code, tenant, owner, timezone.now()).hardware_id == name


def test_a_label_leads_to_the_page_that_adds_the_device():
    address = labels.address("https://portal.example.com/devices/add/", "ABCD-EFGH-JKMN-PQRS")
    assert address == "https://portal.example.com/devices/add/?code=ABCD-EFGH-JKMN-PQRS"
    drawn = ElementTree.fromstring(labels.drawing(address))
    assert drawn.tag.endswith("svg") and len(list(drawn)) == 1


def test_what_cannot_be_made_is_told_and_nothing_is(client, claim):
    client.force_login(StaffFactory())
    make(client, claim, "SN-1")
    assert "SN-1: given a code before." in make(client, claim, "SN-1, SN-2").content.decode()
    assert make(client, claim, " , \n").status_code == 200
    assert ClaimCode.objects.count() == 1


def test_codes_are_revoked_with_a_reason(client, claim):
    client.force_login(StaffFactory())
    make(client, claim, "SN-1")
    row = ClaimCode.objects.get()
    told = {"action": "revoke", "_selected_action": [row.pk]}
    assert "Nobody can redeem them" in client.post(LIST, told).content.decode()
    client.post(LIST, told | {"reason": "label lost"})
    row.refresh_from_db()
    assert row.revoked_at and Event.objects.get(kind="claim_code.revoked").reason == "label lost"
    assert "Revoked" in client.get(f"{LIST}?state=revoked").content.decode()
    assert "SN-1" not in client.get(f"{LIST}?state=waiting").content.decode()
    assert client.get(reverse("admin:devices_claimcode_change", args=[row.pk])).status_code == 200


@pytest.mark.parametrize(
    ("role", "may"),
    [("Fleet operator", True), ("Security officer", True), ("Support", False), ("Firmware author", False)],
)
def test_who_may(client, claim, role, may):
    client.force_login(world.staff(role))
    assert client.get(LIST).status_code == 200
    assert (make(client, claim).status_code == 200) is may
    assert (ClaimCode.objects.count() > 0) is may
    assert ('value="revoke"' in client.get(LIST).content.decode()) is may
