"""Links to artifacts: good for one attempt of one update, for a while, and made by nobody but us."""

from datetime import timedelta

import pytest
from django.core.signing import TimestampSigner
from django.utils import timezone

from firmware import links
from firmware.errors import FirmwareError
from firmware.models import Campaign, Stop, Update
from tests.factories import StaffFactory
from tests.firmware import fleet

pytestmark = pytest.mark.django_db


def refused(call, *args):
    with pytest.raises(FirmwareError) as error:
        call(*args)
    return error.value.status, error.value.code


@pytest.fixture
def update():
    return fleet.rollout()[0]


def change(update, **fields):
    Update.objects.filter(pk=update.pk).update(**fields)


def ended(update, state="canceled"):
    change(update, state=state, ended_at=timezone.now())


class TestReading:
    def test_a_link_leads_to_its_update(self, update, settings):
        settings.DEVICE_HTTPS_URL = "https://door.example:8443/"
        url = links.url(update)
        assert url.startswith("https://door.example:8443/api/v1/artifacts/")
        assert links.read(url.rpartition("/")[2]) == update

    def test_any_changed_character_spoils_it(self, update):
        good = links.token(update)
        for at in range(len(good)):
            other = "A" if good[at] != "A" else "B"
            assert refused(links.read, good[:at] + other + good[at + 1 :]) == (403, "link_bad")

    def test_what_is_no_link_of_ours_is_refused(self, update):
        value = f"{update.update_id.hex}-1"
        strangers = [
            "", ".", "x" * 10_000, value, f"{value}.1:2", "\x00", "é.ü.ß",
            TimestampSigner(sep=".", salt="another").sign(value),
            TimestampSigner(sep=".", salt="firmware.links", key="not ours").sign(value),
            TimestampSigner(sep=".", salt="firmware.links").sign("something else"),
            TimestampSigner(sep=".", salt="firmware.links").sign("0" * 32 + "-1"),
        ]  # fmt: skip
        for text in strangers:
            assert refused(links.read, text) == (403, "link_bad"), text

    def test_it_expires(self, update, settings):
        text = links.token(update)
        settings.LINK_SECONDS = 0
        assert refused(links.read, text) == (403, "link_expired")

    def test_it_is_over_when_the_update_is_and_with_its_attempt(self, update):
        text = links.token(update)
        change(update, attempt=2)
        assert refused(links.read, text) == (410, "update_over")
        update.attempt = 2
        assert links.read(links.token(update)) == update
        ended(update)
        assert refused(links.read, links.token(update)) == (410, "update_over")

    def test_what_was_never_offered_cannot_be_fetched(self):
        made = fleet.release()
        planned = fleet.enlist(fleet.campaign(made), fleet.devices(1, made))[0]
        assert refused(links.read, links.token(planned)) == (410, "update_over")


class TestWanted:
    def test_only_by_the_device_it_was_offered_to(self, update):
        assert links.of_device(update.update_id, update.device) == update
        other = fleet.devices(1, update.release)[0]
        assert refused(links.of_device, update.update_id, other) == (404, "update_unknown")
        planned = fleet.enlist(fleet.campaign(update.release), [other])[0]
        assert refused(links.of_device, planned.update_id, other) == (404, "update_unknown")

    @pytest.mark.parametrize("state", ["succeeded", "failed", "canceled", "rolled_back", "timed_out"])
    def test_not_when_it_is_over(self, update, state):
        ended(update, state)
        assert refused(links.of_device, update.update_id, update.device) == (410, "update_over")

    @pytest.mark.parametrize("state", ["notified", "downloading", "downloaded"])
    def test_a_pause_and_the_global_stop_hold_it_back_until_it_installs(self, update, state):
        change(update, state=state)
        update.refresh_from_db()
        assert links.wanted(update)
        stop = Stop.objects.create(started_by=StaffFactory(), reason="fire")
        assert not links.wanted(update)
        Stop.objects.filter(pk=stop.pk).update(ended_at=timezone.now())
        assert links.wanted(update)
        paused = {"state": "paused", "paused_at": timezone.now() - timedelta(hours=1)}
        for held in (paused, {"state": "aborting"}, {"state": "rolling_back"}):
            Campaign.objects.filter(pk=update.campaign.pk).update(**held)
            update.campaign.refresh_from_db()
            assert not links.wanted(update)

    @pytest.mark.parametrize("state", ["installing", "rebooting", "verifying"])
    def test_what_is_half_written_goes_on_whatever_people_decide(self, update, state):
        Stop.objects.create(started_by=StaffFactory(), reason="fire")
        change(update, state=state, campaign=update.campaign)
        Campaign.objects.update(state="aborting")
        update.refresh_from_db()
        assert links.wanted(update)
