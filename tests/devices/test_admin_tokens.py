"""The staff's pages of device tokens: made, shown once, rotated, revoked, and nowhere else to be read."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.urls import reverse
from django.utils import timezone

from devices import tokens
from devices.models import Device, DeviceToken, Event
from tests.devices import bearers
from tests.devices.desk import said
from tests.factories import DeviceFactory, StaffFactory, member
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
LIST = reverse("admin:devices_devicetoken_changelist")
ADD = reverse("admin:devices_devicetoken_add")
MAY = ["superuser", "Fleet operator", "Security officer"]
MAY_NOT = ["Firmware author", "Firmware approver", "Support"]


@pytest.fixture
def device():
    return DeviceFactory(name="Freezer 3")


@pytest.fixture
def root(client):
    user = StaffFactory()
    client.force_login(user)
    return user


def page(row):
    return reverse("admin:devices_devicetoken_change", args=[row.pk])


def somebody(who):
    return StaffFactory() if who == "superuser" else world.staff(who)


def make(client, device, **changes):
    return client.post(ADD, {"device": device.pk, "days": 90, "why": "old chip"} | changes, follow=True)


def shown(answer):
    """The tokens on a page, each in a block of its own; nowhere else on it."""
    text = answer.content.decode()
    blocks = re.findall(r'<pre class="pem" id="secret\d*"[^>]*>(fpd_[A-Za-z0-9_-]{43})</pre>', text)
    assert re.findall(r"fpd_[A-Za-z0-9_-]{43}", text) == blocks
    return blocks


def act(client, verb, *rows, reason="because", follow=True):
    told = {"action": verb, "_selected_action": [row.pk for row in rows]} | ({"reason": reason} if reason else {})
    return client.post(f"{LIST}?state=all", told, follow=follow)


def kept(client, answer, *rows):
    """Everything that is kept or can be asked for after an answer: cookies, sessions, logs, events, rows, pages."""
    found = [str(answer.cookies), str(client.cookies), said(answer), str(answer.headers)]
    found += [str(session.get_decoded()) for session in Session.objects.all()]
    found += [str(each) for model in (LogEntry, Event, DeviceToken) for each in model.objects.values()]
    pages = [LIST, ADD, reverse("admin:index")]
    pages += [
        each for row in rows for each in (page(row), reverse("admin:devices_device_change", args=[row.device_id]))
    ]
    return found + [client.get(each).content.decode() for each in pages]


@pytest.mark.parametrize("who", MAY)
def test_a_tokens_only_appearance_is_the_answer_to_the_form_and_it_works(client, device, who):
    user = somebody(who)
    client.force_login(user)
    answer = make(client, device)
    (token,) = shown(answer)
    assert (answer.status_code, answer.redirect_chain) == (200, [])
    assert "no-store" in answer["Cache-Control"]
    row = tokens.check(token, timezone.now())
    assert (row.device, row.created_by) == (device, user)
    assert timedelta(days=89) < row.expires_at - timezone.now() <= timedelta(days=90)
    event = Event.objects.get(kind="token.made")
    assert (event.user, event.reason, event.device) == (user, "old chip", device)
    everything = kept(client, answer, row)
    assert [text for text in everything if token[12:] in text] == []
    assert [row.prefix in text for text in everything].count(True) >= 5
    assert row.token_hash not in client.get(page(row)).content.decode()
    assert f'data-once="{reverse("admin:devices_device_change", args=[device.pk])}#tokens"' in answer.content.decode()
    assert said(answer) == ""


@pytest.mark.parametrize("who", MAY_NOT)
def test_others_read_and_do_nothing(client, device, who):
    row = tokens.make(device, timezone.now())[0]
    client.force_login(somebody(who))
    assert client.get(ADD).status_code == 403
    assert client.post(ADD, {"device": device.pk, "days": 90}).status_code == 403
    assert client.get(page(row)).status_code == 200
    for verb in ("rotate", "revoke"):
        act(client, verb, row)
    assert DeviceToken.objects.get().revoked_at is None
    text = client.get(reverse("admin:devices_device_change", args=[device.pk])).content.decode()
    assert row.prefix in text
    assert "New token" not in text


def test_customers_are_shown_the_door(client, device):
    tokens.make(device, timezone.now())
    client.force_login(member(device.tenant))
    assert client.get(LIST).headers["Location"].startswith("/admin/login/")
    assert client.get(ADD).status_code == 302


def test_rows_are_seen_by_the_tenancy_rule(device):
    tokens.make(device, timezone.now())
    stranger = member(DeviceFactory().tenant)
    assert DeviceToken.objects.visible_to(member(device.tenant)).count() == 1
    assert DeviceToken.objects.visible_to(stranger).count() == 0
    assert DeviceToken.objects.visible_to(StaffFactory()).count() == 1


def test_the_page_of_a_device_leads_to_a_form_with_the_device_chosen(client, root, device):
    text = client.get(reverse("admin:devices_device_change", args=[device.pk])).content.decode()
    link = re.search(r'href="([^"]+)">New token', text)[1]
    form = client.get(link).content.decode()
    assert f'<option value="{device.pk}" selected>Freezer 3' in form
    assert 'value="365"' in form


@pytest.mark.parametrize("days", ["0", "-1", "731", "x", "9" * 30])
def test_a_lifetime_that_is_too_long_or_none_is_a_mistake_in_the_form(client, root, device, days):
    answer = make(client, device, days=days)
    assert shown(answer) == []
    assert "errorlist" in answer.content.decode()
    assert not DeviceToken.objects.exists()


def test_what_the_rules_refuse_is_said_and_nothing_is_made(client, root, device):
    for _ in range(4):
        make(client, device)
    answer = make(client, device)
    assert "too many tokens" in answer.content.decode()
    assert shown(answer) == []
    Device.objects.update(state="decommissioned")
    assert "was decommissioned" in make(client, device).content.decode()
    assert DeviceToken.objects.count() == 4
    assert LogEntry.objects.count() == 4


def test_revoking_asks_why_and_is_evidence(client, root, device):
    row, token = tokens.make(device, timezone.now())
    asked = act(client, "revoke", row, reason="")
    assert "Say why" in asked.content.decode() or "Reason" in asked.content.decode()
    assert tokens.check(token, timezone.now())
    act(client, "revoke", row, reason="found on the web")
    row.refresh_from_db()
    assert row.reason == "found on the web"
    assert row.revoked_at is not None
    event = Event.objects.get(kind="token.revoked")
    assert (event.user, event.reason) == (root, "found on the web")
    assert "0 done, 1 were not in a state" in act(client, "revoke", row).content.decode()


def test_rotating_shows_the_new_token_once_and_keeps_the_old_one_good(client, root, device):
    now = timezone.now()
    made = [tokens.make(device, now) for _ in range(2)]
    ended = tokens.make(device, now - timedelta(days=400))[0]
    answer = act(client, "rotate", *[row for row, _ in made], ended, reason="yearly")
    new = shown(answer)
    assert (len(new), answer.redirect_chain) == (2, [])
    assert "no-store" in answer["Cache-Control"]
    rows = [tokens.check(token, timezone.now()) for token in new]
    assert answer.content.decode().count(f"Token of Freezer 3 ({device.device_id})") == 2
    assert [text for text in kept(client, answer, *rows) for token in new if token[12:] in text] == []
    assert "has expired" in answer.content.decode()
    assert all(tokens.check(token, timezone.now()) for token in [*new, *[token for _, token in made]])
    assert shown(client.get(LIST)) == []
    events = Event.objects.filter(kind="token.rotated")
    assert {(event.user, event.reason) for event in events} == {(root, "yearly")}


def test_no_more_are_rotated_at_once_than_somebody_can_carry(client, root):
    rows = [tokens.make(DeviceFactory(), timezone.now())[0] for _ in range(21)]
    answer = act(client, "rotate", *rows)
    assert "At most 20 at once" in answer.content.decode()
    assert DeviceToken.objects.count() == 21
    assert len(shown(act(client, "rotate", *rows[1:]))) == 20


def test_no_token_that_is_shown_was_withdrawn_by_the_next_of_the_same_selection(client, root, device):
    old = tokens.make(device, timezone.now())[0]
    unused = tokens.rotate(old, timezone.now(), user=root)[0]
    told = {"action": "rotate", "_selected_action": [old.pk, unused.pk], "reason": "again"}
    for by_end in ("-5", "5"):
        answer = client.post(f"{LIST}?state=all&o={by_end}", told)
        assert [tokens.check(token, timezone.now()).device for token in shown(answer)] == [device]


def test_rotating_what_has_ended_leads_back_to_the_list_and_says_why(client, root, device):
    row = tokens.make(device, timezone.now())[0]
    tokens.revoke(row, "x", None, timezone.now())
    answer = act(client, "rotate", row)
    assert answer.redirect_chain == [(f"{LIST}?state=all", 302)]
    assert "was revoked" in answer.content.decode()
    assert shown(answer) == []


def states(client, **query):
    rows = client.get(LIST, query).context["cl"].result_list
    return [re.sub("<[^>]+>", "", tokens.state_of(row, timezone.now())[1]) for row in rows]


def test_the_list_shows_the_good_ones_first_to_end_first_and_the_others_on_demand(client, root, device):
    now = timezone.now()
    soon = tokens.make(device, now, lifetime=timedelta(days=5))[0]
    old, token = tokens.make(device, now)
    bearers.use(token, now)
    tokens.rotate(old, now + timedelta(minutes=1))
    tokens.revoke(tokens.make(device, now)[0], "x", None, now)
    tokens.make(device, now - timedelta(days=400))
    assert states(client) == ["Never used", "Being replaced", "Never used"]
    assert client.get(LIST).context["cl"].result_list[0] == soon
    assert states(client, state="ends") == ["Never used"]
    assert len(states(client, state="unused")) == 2
    assert states(client, state="expired") == ["Expired"]
    assert states(client, state="revoked") == ["Revoked"]
    assert len(states(client, state="all")) == 5
    assert len(states(client, q=device.device_id)) == 5
    assert states(client, q=old.prefix) == ["Being replaced"]
    text = client.get(LIST, {"state": "all"}).content.decode()
    for colour in ("pending", "retiring", "revoked", "expired"):
        assert f"badge-{colour}" in text


def test_a_token_is_not_edited_or_deleted(client, root, device):
    row = tokens.make(device, timezone.now())[0]
    assert client.post(page(row), {"device": DeviceFactory().pk, "days": 3}).status_code == 403
    assert client.post(reverse("admin:devices_devicetoken_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    assert DeviceToken.objects.get() == row


def test_the_device_page_shows_its_tokens(client, root, device):
    address = reverse("admin:devices_device_change", args=[device.pk])
    assert "This device has no token" in client.get(address).content.decode()
    row, token = tokens.make(device, timezone.now(), user=root)
    tokens.rotate(bearers.use(token, timezone.now()), timezone.now())
    text = client.get(address).content.decode()
    assert row.prefix in text and "Being replaced" in text and "the device" in text
    Device.objects.update(state="decommissioned")
    assert "New token" not in client.get(address).content.decode()
