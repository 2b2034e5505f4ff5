"""Two campaigns want one device: the database lets one have it, and the other says whom it waits for."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import transaction

from devices import registry
from firmware import offers, permits, signing, updates
from firmware.models import Campaign, Hold, Update
from tests.firmware import fleet
from tests.firmware.fleet import NEXT_BOOT, NOW, STORY
from tests.fleetportal.workers import workers

pytestmark = pytest.mark.django_db


def the(row):
    return Update.objects.get(pk=row.pk)


def offer(row):
    return [each.pk for each in offers.offer(Campaign.objects.get(pk=row.campaign_id), NOW)]


def rivals(mine="2.0.0", theirs="2.0.0-rc.1", n=1):
    """Two campaigns with the same devices. Returns their updates, each in the order of the devices."""
    made = fleet.release(mine)
    other = fleet.release(theirs, made.device_types.get())
    some = fleet.devices(n, made)
    both = [fleet.enlist(fleet.campaign(each, [100]), some) for each in (made, other)]
    return [sorted(rows, key=lambda row: row.device_id) for rows in both]


class TestSuperseding:
    @pytest.mark.parametrize("state", ["queued", "notified", "downloading", "downloaded"])
    def test_a_newer_version_takes_the_place_of_an_older_one(self, state):
        (new,), (old,) = rivals()
        offer(old)
        Update.objects.filter(pk=old.pk).update(state=state)
        assert offer(new) == [new.pk, old.pk], "the old one's device is told that it is withdrawn"
        assert (the(old).state, the(old).reason_code) == ("canceled", "superseded")
        assert new.campaign.name in the(old).detail

    @pytest.mark.parametrize("state", ["installing", "rebooting", "verifying"])
    def test_from_the_installation_on_it_finishes_first(self, state):
        (new,), (old,) = rivals()
        offer(old)
        Update.objects.filter(pk=old.pk).update(state=state)
        assert offer(new) == []
        assert (the(new).waiting, the(new).detail, the(old).state) == ("busy", old.campaign.name, state)

    @pytest.mark.parametrize("theirs", ["2.1.0", "2.0.0+other"])
    def test_nothing_gives_way_to_what_is_not_newer(self, theirs):
        (new,), (old,) = rivals(theirs=theirs)
        offer(old)
        assert offer(new) == [] and the(new).waiting == "busy"

    def test_who_is_busy_does_not_crowd_out_those_behind(self):
        new, old = rivals(theirs="3.0.0", n=30)
        busy = sorted(new, key=lambda row: row.place)[:15]
        devices = {row.device_id for row in busy}
        Update.objects.filter(pk__in=[row.pk for row in old if row.device_id in devices]).update(
            state="downloading", offered_at=NOW
        )
        assert len(offer(new[0])) == 10
        assert {the(row).waiting for row in busy} == {"busy"}


class TestRollbacks:
    def back(self, parent_state, **fields):
        """A device that runs the bad version, its update to that, and the planned one that leads it back."""
        (parent,) = fleet.rollout(state="notified")
        ended = None if parent_state in ("downloading", "installing", "verifying") else NOW
        Update.objects.update(**({"state": parent_state, "ended_at": ended, "rebooting_at": NOW} | fields))
        Campaign.objects.update(state="rolling_back")
        fleet.reboot(parent.device, "2.0.0")
        old = fleet.release("1.0.0", parent.device.device_type)
        up = parent.campaign
        child = fleet.campaign(None, [100], rollback_of=up, author=up.author, approver=up.approved_by)
        (row,) = fleet.enlist(child, [parent.device], release=old)
        return parent, row

    def test_its_offer_carries_a_permit_that_the_device_can_check(self, ca):
        _, row = self.back("succeeded")
        Hold.objects.create(device=row.device, kind="penalty", reason="x")
        assert offer(row) == [row.pk], "no hold keeps a device from going back"
        got = the(row)
        statement = signing.permit_statement(
            row.device.device_id, str(got.update_id), "2.0.0", "1.0.0", got.release.artifact.sha256
        )
        key = serialization.load_pem_public_key(permits.public_key().encode())
        key.verify(base64.b64decode(got.permit), statement, ec.ECDSA(hashes.SHA256()))
        assert (got.from_version, got.offered_boot_id, got.fallback) == ("2.0.0", NEXT_BOOT, None)

    def test_it_takes_the_place_of_the_update_that_is_still_being_verified(self, ca):
        parent, row = self.back("verifying")
        assert offer(row) == [row.pk, parent.pk]
        assert (the(parent).state, the(parent).reason_code) == ("canceled", "rolled_back")

    def test_it_waits_for_an_installation_to_end(self, ca):
        _, row = self.back("installing")
        assert offer(row) == [] and the(row).waiting == "busy"

    def test_nothing_takes_its_place(self, ca):
        _, row = self.back("succeeded")
        offer(row)
        made = fleet.release("9.0.0", row.device.device_type)
        (rival,) = fleet.enlist(fleet.campaign(made, [100]), [row.device])
        assert offer(rival) == [] and the(rival).waiting == "busy"

    @pytest.mark.parametrize(("version", "reason"), [("1.0.0", "already_installed"), ("", "unknown_version")])
    def test_who_is_back_already_or_says_nothing_of_itself_is_skipped(self, ca, version, reason):
        _, row = self.back("succeeded")
        fleet.presence(row.device, firmware_version=version)
        assert offer(row) == [] and (the(row).state, the(row).reason_code) == ("skipped", reason)


@pytest.mark.django_db(transaction=True)
class TestAtTheSameTime:
    def test_of_two_campaigns_one_has_the_device_and_the_other_names_it(self):
        (one,), (other,) = rivals()
        with workers(2) as (first, second):
            begun = [first.begin(atomically, offer, one), second.begin(atomically, offer, other)]
            for each in begun:
                each.result(timeout=30)
        atomically(offer, one)
        atomically(offer, other)
        active = Update.objects.active().get()
        assert active.campaign_id in (one.campaign_id, other.campaign_id)
        if active.pk == one.pk:
            assert the(other).state == "canceled" or (the(other).waiting, the(other).detail) == (
                "busy", one.campaign.name,
            )  # fmt: skip

    def test_while_one_has_not_committed_the_other_does_not_wait(self):
        (one,), (other,) = rivals()
        with workers(1) as (second,):
            with transaction.atomic():
                assert offer(one) == [one.pk]
                assert second(atomically, offer, other) == []
            assert second(atomically, offer, other) == []
        assert (the(other).waiting, the(other).detail) == ("busy", one.campaign.name)

    def test_one_that_was_faster_after_all_wins_alone(self, monkeypatch):
        """The other commits between our look and our write: the constraint refuses the batch, and then one row."""
        mine, theirs = rivals(theirs="3.0.0", n=3)
        hand_out = offers._hand_out

        def late(*args):
            with workers(1) as (rival,):
                rival(lambda: Update.objects.filter(pk=theirs[1].pk).update(offered_at=NOW, waiting=""))
            return hand_out(*args)

        monkeypatch.setattr(offers, "_hand_out", late)
        assert sorted(atomically(offer, mine[0])) == sorted([mine[0].pk, mine[2].pk])
        lost = the(mine[1])
        assert (lost.waiting, lost.detail, lost.offered_at) == ("busy", theirs[0].campaign.name, None)

    def test_what_is_being_reported_on_is_not_superseded_now(self):
        (new,), (old,) = rivals()
        atomically(offer, old)
        device = registry.look_up([old.device.device_id])[old.device.device_id]
        with workers(1) as (second,):
            with transaction.atomic():
                updates.record_reports([(device, each) for each in fleet.story(old, STORY[:4])], NOW)
                assert second(atomically, offer, new) == []
                assert [each.pk for each in second(atomically, offers.withdraw, old.campaign, NOW, "x")] == []
            assert second(atomically, offer, new) == []
        assert (the(old).state, the(new).waiting) == ("installing", "busy")


def atomically(function, *args):
    with transaction.atomic():
        return function(*args)
