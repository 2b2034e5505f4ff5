from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils import timezone

from devices.models import Event
from telemetry.models import ArchivedDay, Reading, Retention
from telemetry.tables import partitions
from tests.factories import DeviceFactory, SchemaFactory, StaffFactory, TenantFactory, UserFactory
from tests.telemetry.days import put, reading

LIST = reverse("admin:telemetry_retention_changelist")
ADD = reverse("admin:telemetry_retention_add")
DAY = timedelta(days=1)


@pytest.fixture
def device(db):
    return DeviceFactory(device_type=SchemaFactory().device_type, tenant=TenantFactory(name="Acme <b>"))


@pytest.fixture
def staff(client, db):
    user = StaffFactory(username="sam")
    client.force_login(user)
    return user


def officer(*roles):
    user = UserFactory(is_staff=True)
    user.groups.set(Group.objects.filter(name__in=roles))
    return user


def typed(device, **changes):
    return {"tenant": device.tenant_id, "device_type": "", "days": "30", "reason": "DPA § 4"} | changes


@pytest.fixture
def old(device):
    """Readings forty days old."""
    day = timezone.now().date() - 40 * DAY
    partitions.make_day(day)
    put([reading(device.pk, device.device_type.schemas.get().pk, day, number) for number in range(3)])
    return day


class TestMaking:
    def test_first_it_is_told_what_a_rule_deletes_and_nothing_is_made(self, client, staff, device, old):
        page = client.post(ADD, typed(device)).content.decode()
        assert "<b>3 readings</b>" in page
        assert f"the oldest of {old}" in page
        assert "Acme &lt;b&gt;" in page
        assert not Retention.objects.exists()
        assert Reading.objects.count() == 3

    def test_then_it_is_made_with_evidence(self, client, staff, device, old):
        assert client.post(ADD, typed(device, confirmed="yes")).status_code == 302
        rule = Retention.objects.get()
        assert (rule.tenant, rule.device_type, rule.days, rule.reason) == (device.tenant, None, 30, "DPA § 4")
        event = Event.objects.get(kind="retention.added")
        assert (event.tenant, event.user, event.reason) == (device.tenant, staff, "DPA § 4")
        assert event.detail["rule"] == str(rule)

    def test_what_is_confirmed_is_what_was_shown(self, client, staff, device):
        page = client.post(ADD, typed(device)).content.decode()
        for name, value in typed(device).items():
            assert f'name="{name}" value="{value}"' in page

    def test_back_leads_to_the_form_with_what_was_typed(self, client, staff, device):
        page = client.post(ADD, typed(device)).content.decode()
        assert "days=30&amp;reason=DPA+%C2%A7+4" in page
        form = client.get(ADD, typed(device)).content.decode()
        assert 'name="days" value="30"' in form
        assert "DPA § 4" in form

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"days": "401"}, "after 400 days"),
            ({"days": "0"}, "greater than or equal to 1"),
            ({"days": ""}, "This field is required"),
            ({"reason": ""}, "This field is required"),
            ({"tenant": ""}, "Say whose: a tenant&#x27;s"),
        ],
    )
    def test_mistakes_are_told_at_once(self, client, staff, device, settings, changes, told):
        settings.HOT_DAYS = 400
        page = client.post(ADD, typed(device, **changes))
        assert told in page.content.decode()
        assert "confirmed" not in page.content.decode()
        assert client.post(ADD, typed(device, **changes, confirmed="yes")).status_code == 200
        assert not Retention.objects.exists()

    def test_a_second_rule_about_the_same_is_a_mistake(self, client, staff, device):
        Retention.objects.create(tenant=device.tenant, days=3, reason="x")
        assert "There is a rule about these devices already" in client.post(ADD, typed(device)).content.decode()

    def test_archived_days_are_named_since_they_are_not_rewritten(self, client, staff, device):
        moment = datetime(2020, 2, 29, tzinfo=UTC)
        ArchivedDay.objects.create(
            day=moment.date(), path="x", rows=1, size=1, digest="", file_digest="", first_ts=moment, last_ts=moment,
            archived_at=timezone.now(), tenants=[device.tenant_id],
        )  # fmt: skip
        page = client.post(ADD, typed(device)).content.decode()
        assert "Archived days are not rewritten" in page
        assert "2020-02-29</a>" in page


class TestChanging:
    def test_more_or_fewer_days_are_told_first_too_and_carried_out_anew(self, client, staff, device, old):
        today = timezone.now().date()
        rule = Retention.objects.create(tenant=device.tenant, days=100, reason="x", swept_on=today)
        address = reverse("admin:telemetry_retention_change", args=[rule.pk])
        page = client.post(address, {"days": "39", "reason": "y"}).content.decode()
        assert "<b>3 readings</b>" in page
        rule.refresh_from_db()
        assert rule.days == 100
        client.post(address, {"days": "39", "reason": "y", "confirmed": "yes"})
        rule.refresh_from_db()
        assert (rule.days, rule.reason, rule.swept_on) == (39, "y", None)
        assert Event.objects.get(kind="retention.changed").reason == "y"

    def test_whose_readings_it_is_about_stays(self, client, staff, device):
        rule = Retention.objects.create(tenant=device.tenant, days=100, reason="x")
        address = reverse("admin:telemetry_retention_change", args=[rule.pk])
        client.post(address, {"tenant": TenantFactory().pk, "days": "39", "reason": "y", "confirmed": "yes"})
        rule.refresh_from_db()
        assert rule.tenant == device.tenant

    def test_it_ends_with_a_reason(self, client, staff, device):
        rule = Retention.objects.create(tenant=device.tenant, days=100, reason="x")
        told = {"action": "end", "_selected_action": [rule.pk]}
        assert "stay 400 days from now on" in client.post(LIST, told).content.decode()
        assert Retention.objects.exists()
        client.post(LIST, told | {"confirmed": "yes", "reason": "contract over"})
        assert not Retention.objects.exists()
        assert Event.objects.get(kind="retention.ended").reason == "contract over"


class TestTheList:
    def test_how_far_each_is(self, client, staff, device):
        today = timezone.now().date()
        for tenant, standing in ((None, {}), (device.tenant, {"swept_on": today})):
            kind = None if tenant else device.device_type
            Retention.objects.create(tenant=tenant, device_type=kind, days=3, reason="x", **standing)
        page = client.get(LIST).content.decode()
        assert "Within the hour" in page
        assert f"On {today}" in page
        Retention.objects.update(reached=today)
        assert f"days before {today} are clean" in client.get(LIST).content.decode()


@pytest.mark.parametrize(("role", "may"), [("Security officer", True), ("Fleet operator", False), ("Support", False)])
def test_who_may(client, device, role, may):
    rule = Retention.objects.create(device_type=device.device_type, days=100, reason="x")
    address = reverse("admin:telemetry_retention_change", args=[rule.pk])
    client.force_login(officer(role))
    assert client.get(LIST).status_code == 200
    for where, told in ((ADD, typed(device)), (address, {"days": "3", "reason": "y"})):
        for confirmed in ({}, {"confirmed": "yes"}):
            answer = client.post(where, told | confirmed)
            assert (answer.status_code == 403) is not may
    assert Retention.objects.count() == (2 if may else 1)
    client.post(LIST, {"action": "end", "_selected_action": [rule.pk], "confirmed": "yes", "reason": "r"})
    assert Retention.objects.filter(pk=rule.pk).exists() is not may
