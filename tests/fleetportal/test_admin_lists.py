"""What every list of the admin has above its rows: saved views, typed filters, and itself as a file."""

import csv
import io

import pytest

from devices.admin import tables
from devices.models import Device, Event, Group, SavedView, Site
from tests.factories import DeviceFactory, StaffFactory, TenantFactory
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
LIST = "/admin/devices/device/"


@pytest.fixture
def root(client):
    user = StaffFactory()
    client.force_login(user)
    return user


def save(client, name, query, page=LIST):
    return client.post("/admin/views/", {"page": page, "name": name, "query": query})


class TestSavedViews:
    def test_a_search_is_kept_shown_as_a_pill_and_forgotten(self, client, root):
        assert "Save this view" not in client.get(LIST).content.decode()
        assert "Save this view" in client.get(LIST, {"q": "pump"}).content.decode()
        answer = save(client, " My  pumps ", "q=pump&state__exact=active&p=3")
        assert answer.headers["Location"] == f"{LIST}?q=pump&state__exact=active"
        row = SavedView.objects.get()
        assert (row.user, row.page, row.name, row.query) == (root, LIST, "My pumps", "q=pump&state__exact=active")
        page = client.get(answer.headers["Location"]).content.decode()
        assert f'href="{LIST}?q=pump&amp;state__exact=active" aria-current="true">My pumps</a>' in page
        assert "Save this view" not in page
        client.post(f"/admin/views/{row.pk}/remove/")
        assert SavedView.objects.count() == 0

    def test_the_same_name_means_the_new_search(self, client, root):
        save(client, "Mine", "q=1")
        save(client, "Mine", "q=2")
        assert [row.query for row in SavedView.objects.all()] == ["q=2"]

    def test_it_is_ones_own(self, client, root):
        save(client, "Mine", "q=1")
        row = SavedView.objects.get()
        client.force_login(StaffFactory())
        assert ">Mine</a>" not in client.get(LIST).content.decode()
        assert client.post(f"/admin/views/{row.pk}/remove/").status_code == 404
        assert SavedView.objects.count() == 1

    @pytest.mark.parametrize(
        ("name", "query", "told"),
        [("", "q=1", "Give the view a name"), ("x" * 61, "q=1", "at most 60"), ("x", "", "Search or filter first"),
         ("x", "q=" + "y" * 1001, "too long")],
    )  # fmt: skip
    def test_what_cannot_be_kept_is_said(self, client, root, name, query, told):
        answer = client.post("/admin/views/", {"page": LIST, "name": name, "query": query}, follow=True)
        assert told in answer.content.decode()
        assert SavedView.objects.count() == 0

    def test_twenty_of_a_list_are_enough(self, client, root):
        for number in range(21):
            save(client, f"v{number}", f"q={number}")
        assert SavedView.objects.count() == 20

    @pytest.mark.parametrize(
        "page", ["https://evil.example/", "//evil.example", "/admin/", "/devices/", "/nowhere", ""]
    )
    def test_only_lists_of_the_admin_have_views_here(self, client, root, page):
        assert save(client, "x", "q=1", page).status_code == 404

    def test_names_are_text(self, client, root):
        save(client, world.SCRIPT, "q=1")
        page = client.get(LIST).content.decode()
        assert world.SCRIPT not in page
        assert "&lt;script&gt;" in page

    def test_is_not_open_to_others(self, client):
        assert save(client, "x", "q=1").headers["Location"].startswith("/admin/login/")

    def test_stands_on_lists_of_other_peoples_apps_too(self, client, root):
        assert "Save this view" in client.get("/admin/auth/user/", {"q": "sam"}).content.decode()


class TestTypedFilters:
    def listed(self, client, **query):
        return set(client.get(LIST, query).context["cl"].result_list)

    def test_narrow_by_words_of_names(self, client, root):
        acme, other = TenantFactory(name="Acme Cold", slug="acme"), TenantFactory(name="Other")
        site = Site.objects.create(tenant=acme, name="Harbour", region="North")
        group = Group.objects.create(tenant=acme, name="Pilot ring")
        first, second = DeviceFactory(tenant=acme, site=site), DeviceFactory(tenant=acme, tags=["beta"])
        DeviceFactory(tenant=other)
        second.groups.add(group)
        assert self.listed(client, tenant_name="cold") == {first, second}
        assert self.listed(client, site_name="north") == self.listed(client, site_name="harb") == {first}
        assert self.listed(client, groups_name="pilot", tag="beta") == {second}
        assert self.listed(client, tenant_name="'; --") == set()

    def test_the_form_keeps_what_else_was_chosen(self, client, root):
        DeviceFactory()
        page = client.get(LIST, {"tag": "beta", "state__exact": "active", "q": "Device"}).content.decode()
        form = page[page.index('class="top-filters"') :].split("</form>")[0]
        assert '<input type="hidden" name="state__exact" value="active">' in form
        assert '<input type="hidden" name="q" value="Device">' in form
        assert 'value="beta"' in form
        assert form.count('name="tag"') == 1


class TestFile:
    def rows(self, client, **query):
        answer = client.get(LIST + "list.csv", query)
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))

    def test_has_what_the_list_shows_filtered_as_it_is(self, client, root):
        device = DeviceFactory(name="North door", tags=["a", "b"], state="quarantined")
        DeviceFactory()
        (row,) = self.rows(client, state__exact="quarantined")
        assert (row["Device id"], row["Name"], row["Tags"]) == (device.device_id, "North door", "a, b")
        assert (row["State"], row["Connection"], row["Tenant"]) == ("Quarantined", "Offline", device.tenant.name)
        event = Event.objects.get(kind="device.list_downloaded")
        assert (event.user, event.detail["filters"]) == (root, "state__exact=quarantined")

    @pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
    def test_runs_no_formula(self, client, root, name):
        DeviceFactory(name=name)
        assert self.rows(client)[0]["Name"] == f"'{name}"

    def test_is_bounded_and_says_so(self, client, root, monkeypatch):
        monkeypatch.setattr(tables, "LIMIT", 3)
        DeviceFactory.create_batch(3)
        assert len(self.rows(client)) == 3
        DeviceFactory.create_batch(2)
        rows = self.rows(client)
        assert len(rows) == 4
        assert rows[-1]["Device id"] == "Cut after 3 rows: narrow the filters."

    def test_of_every_list_can_be_read(self, client, root, ca):
        world.add(TenantFactory())
        for address in ("devices/finding/", "devices/event/", "firmware/update/", "devices/certificate/"):
            answer = client.get(f"/admin/{address}list.csv")
            text = b"".join(answer.streaming_content).decode()
            assert len(text.splitlines()) > 1
            assert "<span" not in text

    def test_a_filter_that_is_none_is_no_error(self, client, root):
        assert client.get(LIST + "list.csv", {"nonsense": "1"}).status_code in (302, 400)
        assert client.post(LIST + "list.csv").status_code == 405
        assert Device.objects.count() == 0
