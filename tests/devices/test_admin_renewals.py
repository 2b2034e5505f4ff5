"""The renewals page: its head, its dry run, asking again, and rotating from the list of devices."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import certificates, renewals
from devices.models import Device, Event, Group, Presence, Renewal
from tests.devices import identities
from tests.devices.desk import ON_DUTY, OTHERS, Desk, queued, said, url
from tests.factories import DeviceTypeFactory, TenantFactory, UserFactory

pytestmark = pytest.mark.django_db
ROTATE = "devices.tasks.rotate_certificates"


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks, ca):
    queued()
    return lambda role="Fleet operator": Desk(client, django_capture_on_commit_callbacks, role)


@pytest.fixture
def claim(ca):
    now = timezone.now() - timedelta(days=900)
    return identities.make_claim(
        TenantFactory(name="Acme"), DeviceTypeFactory(), "All", now,
        max_devices=500, lifetime=timedelta(days=2000),
    )[0]  # fmt: skip


@pytest.fixture
def joined(claim):
    """A device that joined so many days ago and used its certificate."""

    def make(days: float = 0, *, online: bool = True) -> Device:
        at = timezone.now() - timedelta(days=days)
        device = identities.join(claim, f"hw-{Device.objects.count()}", at)
        certificates.seen(device.certificates.get(), "A birth", at)
        Presence.objects.filter(device=device).update(online=online, last_seen_at=at)
        return device

    return make


def opened(device: Device, **changes) -> Renewal:
    renewals.request(Device.objects.filter(pk=device.pk), None, timezone.now())
    Renewal.objects.filter(device=device, state__in=Renewal.OPEN).update(**changes or {"attempts": 0})
    return Renewal.objects.filter(device=device).latest("pk")


class TestHead:
    def test_each_tile_counts_what_the_list_behind_it_shows(self, desk, joined):
        now = timezone.now()
        old = now - timedelta(days=31)
        opened(joined())
        opened(joined(), state="asked", attempts=1, asked_at=now)
        opened(joined(), state="failed", ended_at=now)
        opened(joined(), state="failed", ended_at=old)
        opened(joined(), state="proven", ended_at=now)
        opened(joined(), state="proven", ended_at=old)
        client = desk("Support").client
        tiles = client.get(url("renewal", "changelist")).context["tiles"]
        assert [tile["figure"] for tile in tiles] == [1, 1, 0, 1, 1]
        for tile in tiles:
            found = client.get(url("renewal", "changelist") + tile["url"]).context["cl"]
            assert found.result_count == tile["figure"], tile
        chosen = client.get(url("renewal", "changelist") + tiles[1]["url"]).context["tiles"]
        assert [tile["chosen"] for tile in chosen] == [False, True, False, False, False]

    def test_a_list_is_narrowed_by_group_and_device_type(self, desk, joined):
        device, other = joined(), joined()
        group = Group.objects.create(tenant=device.tenant, name="Pilot")
        device.groups.add(group)
        opened(device)
        opened(other)
        client = desk("Support").client
        address = url("renewal", "changelist")
        in_group = client.get(address, {"device__groups__id__exact": group.pk}).context["cl"]
        assert [row.device for row in in_group.result_list] == [device]
        of_type = client.get(address, {"device__device_type__id__exact": device.device_type_id}).context["cl"]
        assert of_type.result_count == 2


class TestDryRun:
    def test_says_who_and_when_by_the_day_and_changes_nothing(self, desk, joined):
        soon, late, now = joined(300), joined(230), timezone.now()
        later = late.certificates.get()
        later.renew_at = now + timedelta(days=5)
        later.save()
        joined()
        client = desk("Support").client
        page = client.get(url("renewal", "dry_run"), {"within": "7d"})
        days = page.context["days"]
        assert [(day.count, [each.device for each in day.shown]) for day in days] == [(1, [soon]), (1, [late])]
        assert [day.on for day in days] == [now.date(), later.renew_at.date()]
        assert "at most <b>300 a minute</b>" in page.content.decode()
        assert client.get(url("renewal", "dry_run")).context["total"] == 1
        assert not Renewal.objects.exists()
        assert queued() == []

    def test_counts_all_and_names_the_first(self, desk, joined, monkeypatch):
        for _ in range(4):
            joined(300)
        monkeypatch.setattr("devices.admin.renewals.SHOWN", 3)
        page = desk("Support").client.get(url("renewal", "dry_run"))
        assert page.context["total"] == 4
        assert "and 1 more" in page.content.decode()

    def test_tells_the_pace_of_groups_and_what_is_under_way(self, desk, joined, settings):
        settings.RENEWALS_PER_MINUTE = 12
        device = joined(300)
        Group.objects.create(tenant=device.tenant, name="Slow lane", renewals_per_minute=2)
        opened(device)
        text = desk("Support").client.get(url("renewal", "dry_run")).content.decode()
        assert "12 a minute" in text
        assert "Slow lane (2 a minute)" in text
        assert "1 more is under way already" in text
        assert "Nobody becomes due" in text

    def test_costs_the_same_with_one_device_and_with_three(self, desk, joined):
        person, costs = desk("Support"), []
        for _ in range(2):
            joined(300)
            person.client.get(url("renewal", "dry_run"))
            with CaptureQueriesContext(connection) as queries:
                person.client.get(url("renewal", "dry_run"))
            costs.append(len(queries))
            joined(300)
        assert costs[0] == costs[1]

    def test_an_unknown_horizon_is_the_shortest(self, desk, ca):
        page = desk("Support").client.get(url("renewal", "dry_run"), {"within": "'; DROP"})
        assert page.context["chosen"].slug == "24h"

    def test_is_for_staff_who_may_see_renewals(self, client, ca):
        client.force_login(UserFactory(is_staff=True))
        assert client.get(url("renewal", "dry_run")).status_code == 403


class TestAskAgain:
    @pytest.mark.parametrize("role", ON_DUTY)
    def test_an_open_renewal_is_asked_at_once(self, desk, joined, role):
        row = opened(joined(), attempts=5, state="asked", next_attempt_at=timezone.now() + timedelta(hours=9))
        person = desk(role)
        response = person.act("renewal", "ask_again", row)
        row.refresh_from_db()
        assert (row.attempts, row.next_attempt_at <= timezone.now()) == (0, True)
        assert "Asked as soon as they are online: 1." in said(response)
        assert [name for name, _ in queued()] == [ROTATE]
        event = Event.objects.filter(kind="renewal.requested").latest("pk")
        assert (event.user, event.reason) == (person.user, "Asked again from the list of renewals")

    def test_one_that_failed_is_opened_anew_and_only_once(self, desk, joined):
        row = opened(joined(), state="failed", ended_at=timezone.now())
        person = desk()
        assert "Of these opened anew: 1." in said(person.act("renewal", "ask_again", row))
        assert Renewal.objects.filter(device=row.device, state="due").count() == 1
        assert "Ended, or without a certificate to renew: 1." in said(person.act("renewal", "ask_again", row))
        assert Renewal.objects.filter(device=row.device).count() == 2

    def test_one_that_is_proven_is_left_alone(self, desk, joined):
        row = opened(joined(), state="proven", ended_at=timezone.now())
        assert "Ended, or without a certificate to renew: 1." in said(desk().act("renewal", "ask_again", row))
        assert Renewal.objects.count() == 1

    @pytest.mark.parametrize("role", OTHERS)
    def test_is_refused_to_others(self, desk, joined, role):
        row = opened(joined(), attempts=5)
        person = desk(role)
        assert person.actions("renewal") == set()
        person.act("renewal", "ask_again", row)
        row.refresh_from_db()
        assert row.attempts == 5
        assert queued() == []
        assert "Ask again now" not in person.page("renewal", "change", row.pk)

    def test_the_row_has_its_own_button_and_comes_back_to_it(self, desk, joined):
        row = opened(joined())
        person = desk()
        assert "Ask again now" in person.page("renewal", "change", row.pk)
        response = person.act("renewal", "ask_again", row, back="page")
        assert response["Location"] == url("renewal", "change", row.pk)


class TestRotate:
    @pytest.mark.parametrize("role", ON_DUTY)
    def test_asks_why_says_whom_it_reaches_and_opens_renewals_once(self, desk, joined, role):
        online, offline, ended = joined(), joined(online=False), joined()
        Device.objects.filter(pk=ended.pk).update(state="decommissioned")
        person = desk(role)
        chosen = [online, offline, ended]
        question = person.act("device", "rotate", *chosen).content.decode()
        assert "Online, asked now: 1, at most 300 a minute." in question
        assert "Offline, asked when they come online: 1." in question
        assert "Not active, or without a valid certificate: 1." in question
        assert not Renewal.objects.exists()
        told = said(person.act("device", "rotate", *chosen, reason="Heartbleed"))
        assert told == (
            "Renewals opened: 2. Offline, they will be asked when they come online: 1."
            " Nothing to renew, as not active or without a valid certificate: 1."
        )
        assert {(row.device, row.cause, row.requested_by) for row in Renewal.objects.all()} == {
            (online, "staff", person.user), (offline, "staff", person.user),
        }  # fmt: skip
        event = Event.objects.get(kind="renewal.requested")
        assert (event.user, event.reason, event.detail) == (person.user, "Heartbleed", {"devices": 2})
        assert [name for name, _ in queued()] == [ROTATE]
        again = said(person.act("device", "rotate", *chosen, reason="Heartbleed"))
        assert again.startswith("Renewals opened: 0. Under way already, and asked again: 2.")
        assert Renewal.objects.count() == 2

    def test_all_that_a_filter_finds_are_meant_when_all_were_chosen(self, desk, joined):
        devices = [joined() for _ in range(3)]
        person = desk()
        question = person.act("device", "rotate", devices[0], select_across="1")
        assert 'name="select_across" value="1"' in question.content.decode()
        person.act("device", "rotate", devices[0], select_across="1", reason="All of them")
        assert Renewal.objects.count() == 3

    @pytest.mark.parametrize("role", OTHERS)
    def test_is_refused_to_others(self, desk, joined, role):
        device = joined()
        person = desk(role)
        assert "rotate" not in person.actions("device")
        person.act("device", "rotate", device, reason="because")
        assert not Renewal.objects.exists()
