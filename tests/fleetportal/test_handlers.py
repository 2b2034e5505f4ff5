"""What is answered where no view does."""

import pytest

from firmware.models import Ring
from fleetportal.handlers import forbidden
from tests.factories import TenantFactory, member
from tests.firmware import fleet
from tests.fleetportal.world import staff

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/api/v1/nope", "/api/v1/releases/abc", "/api/", "/api/v1/campaigns/1/a.b"])
def test_what_is_not_there_is_told_to_apps_as_a_problem(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    body = answer.json()
    assert (body["status"], body["error_code"], body["title"]) == (404, "not_found", "Not Found")
    assert body["detail"] and "correlation_id" in body


def test_and_to_people_as_a_page(client):
    answer = client.get("/nope/")
    assert (answer.status_code, answer["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert client.get("/api/v1").status_code == 301, "the index is found without its slash"


@pytest.mark.urls("fleetportal.device_urls")
def test_devices_get_a_problem_whatever_they_ask_for(client):
    for path in ("/nope", "/api/v1/nope"):
        assert client.get(path)["Content-Type"] == "application/problem+json"


class TestForbidden:
    def page(self, client, user, path, method="get"):
        client.force_login(user)
        answer = getattr(client, method)(path)
        assert answer.status_code == 403
        return answer.content.decode()

    def test_staff_are_told_which_right_they_lack_and_who_has_it(self, client, ca):
        text = self.page(client, staff("Support"), "/admin/firmware/ring/add/")
        assert "You lack the right to “make and change rings” (Fleet operator)." in text
        assert "ask an administrator" in text
        assert "owner of your organisation" not in text

    def test_also_at_a_button_of_a_campaign(self, client, ca):
        campaign = fleet.campaign(fleet.release())
        path = f"/admin/firmware/campaign/{campaign.pk}/act/pause/"
        text = self.page(client, staff("Support"), path, "post")
        assert "“schedule, start, pause, resume, abort, roll back, retry” (Fleet operator)" in text

    def test_a_right_that_no_role_has_is_named(self, client, ca):
        assert "You lack the right to “add tenant”." in self.page(
            client, staff("Support"), "/admin/devices/tenant/add/"
        )

    def test_who_has_the_right_is_not_told_otherwise(self, client, ca):
        ring = Ring.objects.create(name="Used", order=1)
        fleet.campaign(fleet.release(), ring=ring)
        text = self.page(client, staff("Fleet operator"), f"/admin/firmware/ring/{ring.pk}/delete/")
        assert "You lack the right" not in text and "This cannot be done here" in text

    def test_customers_ask_their_owner(self, client, rf):
        request = rf.get("/admin/firmware/ring/add/")
        request.resolver_match = None
        request.user = member(TenantFactory())
        text = forbidden(request, "").content.decode()
        assert "ask the owner of your organisation" in text
