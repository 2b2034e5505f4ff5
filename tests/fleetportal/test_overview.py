"""Which devices the overview asks to look at, why, and that the list finds the same ones."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices import certificates, pki, rotation
from devices.models import Certificate, Device, Renewal
from firmware.models import Update
from fleetportal import kept, overview
from telemetry.models import Latest
from tests.devices import peers
from tests.factories import SchemaFactory, SiteFactory, TenantFactory, UserFactory, member
from tests.firmware import fleet

pytestmark = pytest.mark.django_db
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def release():
    """For devices that may be silent for a day: they were last heard when the tests began."""
    row = fleet.release("1.4.2")
    row.device_types.update(silence_seconds=86_400)
    return row


@pytest.fixture
def tenant():
    return TenantFactory()


@pytest.fixture
def device(release, tenant):
    return fleet.devices(1, release, version="1.3.0", tenant=tenant)[0]


def looks(client, tenant):
    client.force_login(member(tenant))
    page = client.get("/")
    return [(each.device_id, each.why) for each in page.context["looks"]], page.content.decode()


def listed(client, state):
    return [each.device_id for each in client.get("/devices/", {"state": state}).context["page"].object_list]


def ended(release, device, ago=HOUR, **fields):
    """An update that ended; failed, where nothing else is said."""
    now = timezone.now()
    usual = {"state": "failed", "waiting": "", "offered_at": now - ago - HOUR, "ended_at": now - ago} | fields
    fleet.enlist(fleet.campaign(release), [device], **usual)


def certificate(device):
    return certificates.issue(device, pki.read_request(peers.csr().encode()), timezone.now())


def test_who_has_no_device_in_service_is_told_what_to_do(client, release, tenant):
    def page(user):
        client.force_login(user)
        return client.get("/").content.decode()

    assert "invite you" in page(UserFactory())
    empty = page(member(tenant))
    assert 'href="/devices/add/"' in empty and "claim code" in empty and "invite you" not in empty
    assert 'href="/devices/add/"' not in page(member(tenant, "viewer"))
    fleet.devices(1, release, tenant=tenant, state=Device.State.QUARANTINED, online=False)
    assert "No devices in service" in page(member(tenant)) and looks(client, tenant)[0] != []
    assert "Need a look" in page(member(tenant))


def test_all_is_well(client, device, tenant):
    assert looks(client, tenant)[0] == []


def test_a_failed_update_until_another_is_offered(client, release, device, tenant):
    ended(release, device)
    found, page = looks(client, tenant)
    assert found == [(device.device_id, "failed")] and "Update failed" in page
    assert listed(client, "failed") == [device.device_id]
    ended(fleet.release("1.4.3", *release.device_types.all()), device, state="succeeded")
    assert looks(client, tenant)[0] == [] == listed(client, "failed")


def test_one_that_was_only_planned_since_mends_nothing(client, release, device, tenant):
    ended(release, device)
    later = fleet.release("1.4.3", *release.device_types.all())
    fleet.enlist(fleet.campaign(later), [device], state="queued", waiting="stage")
    assert looks(client, tenant)[0] == [(device.device_id, "failed")]


def test_the_list_of_failed_updates_says_so_of_each_beside_its_state(client, release, device, tenant):
    ended(release, device)
    looks(client, tenant)
    reason, place = '<span class="badge badge-failed">Update failed</span>', f'/{device.device_id}/#firmware-title"'
    page = client.get("/devices/", {"state": "failed"}).content.decode()
    assert page.count(reason) == 1 and place in page and "data-presence>Online<" in page
    page = client.get("/devices/").content.decode()
    assert device.device_id in page and reason not in page and place not in page


def test_an_old_failure_is_found_by_the_list_alone(client, release, device, tenant):
    ended(release, device, ago=overview.FAILED_FOR + HOUR)
    assert looks(client, tenant)[0] == []
    assert listed(client, "failed") == [device.device_id]


@pytest.mark.parametrize(("state", "times"), [("canceled", {}), ("timed_out", {"installing_at": None})])
def test_what_does_not_count_as_a_failure_is_none(client, release, device, tenant, state, times):
    ended(release, device, state=state, **times)
    assert looks(client, tenant)[0] == []


def test_a_certificate_that_ends_while_nothing_renewed_it(client, ca, device, tenant):
    row = certificate(device)
    Certificate.objects.update(state="active")
    assert looks(client, tenant)[0] == [] == listed(client, "ending")
    now = timezone.now()
    urgent = {"renew_at": now - 11 * DAY, "not_after": now + 10 * DAY}
    Certificate.objects.update(not_before=now - 80 * DAY, **urgent)
    row.refresh_from_db()
    assert rotation.is_urgent(row.renew_at, row.not_after, now)
    found, page = looks(client, tenant)
    assert found == [(device.device_id, "ending")] and "Certificate ends" in page
    assert f"{row.not_after:%Y-%m-%d}" in page
    assert listed(client, "ending") == [device.device_id]
    page = client.get("/devices/", {"state": "ending"}).content.decode()
    assert '<span class="badge badge-stale">Certificate ends</span>' in page and "#identity-title" in page
    Certificate.objects.update(renew_at=now - 9 * DAY)
    row.refresh_from_db()
    assert not rotation.is_urgent(row.renew_at, row.not_after, now)
    assert looks(client, tenant)[0] == [] == listed(client, "ending")


def test_the_page_of_a_device_says_of_its_certificate_what_the_overview_says(client, ca, device, tenant):
    certificate(device)
    client.force_login(member(tenant))
    now = timezone.now()

    def told():
        return client.get(f"/devices/{device.device_id}/").context["certificate"]["words"]

    Certificate.objects.update(state="active")
    assert told() == ""
    Certificate.objects.update(not_before=now - 80 * DAY, renew_at=now - 11 * DAY, not_after=now + 10 * DAY)
    assert told() == "Late" and listed(client, "ending") == [device.device_id]
    # Asked again and again without an answer, it is late all the same.
    Renewal.objects.create(device=device, certificate=Certificate.objects.get(), next_attempt_at=now)
    assert told() == "Late"
    Certificate.objects.update(renew_at=now - 9 * DAY)
    assert told() == "On its way" and listed(client, "ending") == []


def test_where_there_are_more_than_are_listed_the_list_is_a_click_away(client, release, tenant):
    failed = fleet.devices(overview.LISTED + 1, release, tenant=tenant)
    for each in failed[1:]:
        ended(release, each)
    found, page = looks(client, tenant)
    assert len(found) == overview.LISTED and "?state=failed" not in page
    ended(release, failed[0])
    fleet.devices(overview.LISTED + 2, release, tenant=tenant, online=False)
    found, page = looks(client, tenant)
    assert [why for _, why in found] == ["failed"] * overview.LISTED + ["offline"] * overview.LISTED
    assert 'href="/devices/?state=failed"' in page and "All 7 offline" in page and "?state=ending" not in page
    assert sorted(listed(client, "failed")) == sorted(each.device_id for each in failed)


def test_a_device_is_named_once_for_the_worst(client, release, tenant, device):
    fleet.presence(device, online=False)
    ended(release, device)
    (away,) = fleet.devices(1, release, tenant=tenant, online=False)
    (apart,) = fleet.devices(1, release, tenant=tenant, state=Device.State.QUARANTINED)
    found, _ = looks(client, tenant)
    assert found == [
        (apart.device_id, "quarantined"), (device.device_id, "failed"), (away.device_id, "offline"),
    ]  # fmt: skip


def test_nothing_of_another_tenant(client, release, device, tenant):
    ended(release, device)
    fleet.presence(device, online=False)
    found, page = looks(client, TenantFactory())
    assert found == [] and device.device_id not in page
    assert Update.objects.count() == 1


# --- the sites -------------------------------------------------------------------------------------------------------
@pytest.fixture
def shops(release, tenant):
    """Shops of two devices each in service; of the first, both are offline, of the last, one is."""
    sites = [SiteFactory(tenant=tenant, name=f"Shop {number:02}") for number in range(overview.SITES + 2)]
    for site in sites:
        fleet.devices(1, release, tenant=tenant, site=site, online=site != sites[0])
        fleet.devices(1, release, tenant=tenant, site=site, online=site not in (sites[0], sites[-1]))
    return sites


def sites(client, user):
    client.force_login(user)
    page = client.get("/")
    told = [(each["site"].name, each["devices"], each["online"], each["away"]) for each in page.context["sites"]]
    return told, page.content.decode()


def test_the_sites_with_most_offline_are_the_first_and_the_rest_is_a_click_away(client, shops, release, tenant):
    fleet.devices(1, release, tenant=tenant, site=shops[1], online=False, state=Device.State.QUARANTINED)
    fleet.devices(1, release, tenant=tenant, online=False)  # at no site
    told, page = sites(client, member(tenant))
    fine = [(f"Shop {number:02}", 2, 2, 0) for number in range(1, overview.SITES - 1)]
    assert told == [("Shop 00", 2, 0, 2), ("Shop 09", 2, 1, 1), *fine]
    assert f'href="/devices/?site={shops[0].pk}">Shop 00<' in page and "2 more sites in the list of devices" in page
    assert "with devices offline" not in page
    found = client.get("/devices/", {"site": shops[0].pk}).context["page"].object_list
    assert [each.site for each in found] == [shops[0]] * 2
    for site in shops[1:-1]:
        fleet.devices(2, release, tenant=tenant, site=site, online=False)
    told, page = sites(client, member(tenant))
    assert [name for name, *_ in told] == [site.name for site in shops[:-2]]
    assert "2 more sites with devices offline" in page


def test_where_there_is_one_site_or_none_nothing_is_said_of_sites(client, release, tenant):
    fleet.devices(1, release, tenant=tenant)
    assert 'id="sites-title"' not in sites(client, member(tenant))[1]
    place, empty = SiteFactory(tenant=tenant, name="North"), SiteFactory(tenant=tenant, name="Not open yet")
    fleet.devices(1, release, tenant=tenant, site=place)
    assert 'id="sites-title"' not in sites(client, member(tenant))[1]
    fleet.devices(1, release, tenant=tenant, site=empty)
    assert 'id="sites-title"' in sites(client, member(tenant))[1]


def test_sites_of_another_tenant_are_not_there_and_to_who_sees_several_each_says_whose_it_is(
    client, shops, release, tenant
):
    other = TenantFactory(name="Second Ltd")
    for name in ("East", "West"):
        fleet.devices(1, release, tenant=other, site=SiteFactory(tenant=other, name=name), online=False)
    told, page = sites(client, member(other))
    assert told == [("East", 1, 0, 1), ("West", 1, 0, 1)] and "Shop" not in page
    assert overview.places([(shops[0].pk, 2, 0, 2)], member(other)) == []
    told, page = sites(client, member(tenant))
    assert not any(name in page for name in ("East", "West", "Second Ltd"))
    both = member(tenant)
    other.memberships.create(user=both, role="viewer")
    told, page = sites(client, both)
    assert [name for name, *_ in told[:3]] == ["Shop 00", "East", "Shop 09"]
    assert '<span class="under">Second Ltd</span>' in page


def test_of_many_devices_the_figures_are_kept_and_the_sites_are_those_of_now(client, shops, tenant, monkeypatch):
    monkeypatch.setattr(kept, "MANY", 1)
    assert sites(client, member(tenant))[0][0] == ("Shop 00", 2, 0, 2)
    shops[0].devices.update(site=shops[1])
    shops[0].name = "Shop at the corner"
    shops[0].save()
    assert sites(client, member(tenant))[0][0] == ("Shop at the corner", 2, 0, 2)
    told, page = sites(client, member(TenantFactory()))
    assert told == [] and "Shop" not in page


# --- newest readings -------------------------------------------------------------------------------------------------
def test_the_newest_stay_where_they_are_by_name_and_of_many_none_is_shown(client, release, tenant, monkeypatch):
    devices = sorted(fleet.devices(3, release, tenant=tenant), key=str)
    fleet.devices(1, release, tenant=tenant)  # never said anything
    schema = SchemaFactory(device_type=devices[0].device_type)
    now = timezone.now()
    client.force_login(member(tenant))
    for newest in (devices, devices[::-1]):
        for offset, each in enumerate(newest):
            usual = {"ts": now - offset * HOUR, "received_at": now, "schema": schema, "metrics": [4.5]}
            Latest.objects.update_or_create(device=each, defaults=usual)
        assert list(client.get("/").context["newest"]) == devices
    monkeypatch.setattr(overview, "MANY", 4)
    answer = client.get("/")
    assert answer.context["newest"] == [] and "Newest readings" not in answer.content.decode()
