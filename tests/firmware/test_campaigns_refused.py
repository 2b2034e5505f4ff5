"""What a campaign must not do by anybody's word: go out unsigned, unapproved, or to devices that nobody approved."""

import pytest
from django.db import transaction

from devices.models import Event, Finding, Group
from firmware import advancing, campaigns, files, planning, releases, scope, trust
from firmware.errors import FirmwareError
from firmware.models import Campaign, Release, Ring, TrustedKey, Update, Verdict
from tests.factories import StaffFactory, TenantFactory
from tests.firmware import fleet
from tests.firmware.fleet import DAY, HOUR, MINUTE, NOW
from tests.fleetportal.workers import workers

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(db):
    return fleet.release("2.0.0")


@pytest.fixture
def operator(db):
    return StaffFactory(username="operator")


def started(release, percents=(100,), **fields):
    row = fleet.campaign(release, percents, state="draft", **fields)
    campaigns.submit(row, row.author, NOW)
    campaigns.approve(row, StaffFactory(), NOW)
    campaigns.start(row, row.author, NOW)
    return row


def now_in(campaign):
    return Campaign.objects.get(pk=campaign.pk)


def refused(code):
    return pytest.raises(FirmwareError, check=lambda error: error.code == code)


def revoke(release, user):
    for signature in release.artifact.signatures.all():
        trust.revoke_key(signature.key, user, "Stolen.", NOW)


# --- two people -----------------------------------------------------------------------------------------------------


def test_whoever_edits_a_plan_is_its_author_and_nobody_who_wrote_in_it_approves_it(release, operator):
    draft = fleet.campaign(release, (100,), state="draft")
    author = draft.author
    campaigns.edited(draft, operator, NOW)
    assert (draft.author, now_in(draft).author) == (operator, operator)
    assert Event.objects.get(kind="campaign.edit").detail["author"] == author.pk
    campaigns.submit(draft, operator, NOW)
    for each in (operator, author):
        with refused("two_people"):
            campaigns.approve(draft, each, NOW)
    campaigns.approve(draft, StaffFactory(), NOW)
    assert now_in(draft).state == "scheduled"


@pytest.mark.parametrize("approve", [False, True], ids=["submitted", "approved"])
def test_also_of_what_was_submitted_or_approved(release, operator, approve):
    draft = fleet.campaign(release, (100,), state="draft")
    campaigns.submit(draft, draft.author, NOW)
    if approve:
        campaigns.approve(draft, operator, NOW)
    campaigns.edited(draft, operator, NOW)
    row = now_in(draft)
    assert (row.state, row.author, row.approved_by) == ("draft", operator, None)


def test_a_planned_start_is_void_with_the_approval(release, operator):
    fleet.devices(2, release)
    campaign = fleet.campaign(release, (100,), state="draft")
    campaigns.submit(campaign, campaign.author, NOW)
    campaigns.approve(campaign, operator, NOW)
    campaigns.schedule(campaign, operator, NOW + HOUR, NOW)
    campaigns.edited(campaign, campaign.author, NOW)
    assert (campaign.starts_at, now_in(campaign).starts_at) == (None, None)
    campaigns.submit(campaign, campaign.author, NOW + DAY)
    campaigns.approve(campaign, operator, NOW + DAY)
    Campaign.objects.filter(pk=campaign.pk).update(starts_at=NOW + HOUR)  # however it came there
    assert campaigns.start_due(NOW + DAY) == 0
    assert now_in(campaign).state == "scheduled"


# --- who vouches for it ---------------------------------------------------------------------------------------------


def test_the_whole_file_is_read_before_it_is_approved(release, operator, monkeypatch):
    draft = fleet.campaign(release, (100,), state="draft")
    campaigns.submit(draft, draft.author, NOW)
    read = files.open_file

    def damaged(sha256):
        file = read(sha256)
        file.read(1)
        return file

    monkeypatch.setattr(files, "open_file", damaged)
    with refused("not_ready") as error:
        campaigns.approve(draft, operator, NOW)
    assert "changed or damaged" in str(error.value)
    monkeypatch.setattr(files, "open_file", read)
    campaigns.approve(draft, operator, NOW)
    key = Verdict.objects.get(action="approve").figures["keys"][0]
    assert (key["valid"], key["against"], key["fingerprint"]) == (True, "", fleet.trusted_key().fingerprint)


def test_is_not_resumed_once_its_key_is_revoked(release, operator):
    fleet.devices(2, release)
    campaign = started(release)
    campaigns.pause(campaign, operator, "Lunch.", NOW)
    revoke(release, operator)
    with refused("not_ready"):
        campaigns.resume(campaign, operator, "Back.", NOW)
    assert now_in(campaign).state == "paused"
    campaigns.roll_back(campaign, operator, "It is not ours.", NOW)


def test_what_failed_is_not_retried_with_a_revoked_key_or_an_archived_release(release, operator):
    fleet.devices(2, release)
    campaign = started(release)
    Update.objects.update(state="rejected", offered_at=NOW, ended_at=NOW, reason_code="battery")
    Campaign.objects.filter(pk=campaign.pk).update(state="completed", ended_at=NOW)
    assert releases.archive(release, operator, "Old.", NOW)
    with refused("not_ready"):
        campaigns.retry_failed(campaign, operator, "Once more.", NOW)
    Release.objects.update(state="ready")
    revoke(release, operator)
    with refused("not_ready"):
        campaigns.retry_failed(campaign, operator, "Once more.", NOW)
    assert set(campaign.updates.values_list("state", flat=True)) == {"rejected"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["revoke", "archive"])
def test_while_it_starts_its_key_is_not_revoked_and_its_release_not_archived(act):
    release, user = fleet.release("2.0.0"), StaffFactory()
    fleet.devices(2, release)
    campaign = fleet.campaign(release, (100,), state="draft")
    campaigns.submit(campaign, campaign.author, NOW)
    campaigns.approve(campaign, user, NOW)
    key = TrustedKey.objects.get()

    def do():
        if act == "revoke":
            trust.revoke_key(key, user, "Stolen.", NOW)
            return [row.pk for row in trust.affected(key)]
        try:
            return releases.archive(release, user, "Old.", NOW)
        except FirmwareError as error:
            return error.code

    with workers(1) as (other,):
        with transaction.atomic():
            campaigns.start(campaign, user, NOW)
            begun = other.begin(do)
            with pytest.raises(TimeoutError):
                begun.result(timeout=1)
        said = begun.result(timeout=60)
    assert now_in(campaign).state == "running"
    assert said == ([campaign.pk] if act == "revoke" else "in_use")  # whoever revokes sees what runs, and pauses it


# --- whom it is for -------------------------------------------------------------------------------------------------


def test_a_continuous_campaign_whose_ring_grew_is_paused_and_takes_in_nobody(release, operator):
    tenant = TenantFactory()
    staging, rest = (Group.objects.create(tenant=tenant, name=name) for name in ("staging", "rest"))
    ring = Ring.objects.create(name="Staging", order=1)
    ring.groups.add(staging)
    staging.devices.add(*fleet.devices(3, release, tenant=tenant))
    campaign = started(release, (50, 100), ring=ring, continuous=True)
    advancing.advance(campaign.pk, NOW)
    staging.devices.add(*fleet.devices(1, release, tenant=tenant))  # this is what it was approved for
    advancing.advance(campaign.pk, NOW + MINUTE)
    assert (now_in(campaign).state, campaign.updates.count()) == ("running", 4)
    rest.devices.add(*fleet.devices(5, release, tenant=tenant))
    ring.groups.add(rest)
    decision = advancing.advance(campaign.pk, NOW + 2 * MINUTE)
    row = now_in(campaign)
    assert (decision.action, row.state, row.pause_reason) == ("pause", "paused", "operator")
    assert (row.state_reason, row.updates.count()) == (scope.OUTGROWN, 4)
    assert Verdict.objects.filter(campaign=campaign).first().text == scope.OUTGROWN[:300]
    with refused("scope_changed"):
        campaigns.resume(campaign, operator, "It is well.", NOW + HOUR)
    ring.groups.remove(rest)
    campaigns.resume(campaign, operator, "It is as it was.", NOW + HOUR)
    advancing.advance(campaign.pk, NOW + HOUR)
    assert (now_in(campaign).state, campaign.updates.count()) == ("running", 4)


def test_a_ring_that_nobody_passed_is_not_passed(release):
    tenant = TenantFactory()
    group = Group.objects.create(tenant=tenant, name="staging")
    ring = Ring.objects.create(name="Staging", order=1)
    ring.groups.add(group)
    group.devices.add(*fleet.devices(2, release, tenant=tenant))
    campaign = started(release, ring=ring, tags=["nobody-has-this"])
    advancing.advance(campaign.pk, NOW)
    assert now_in(campaign).state == "completed"
    general = fleet.campaign(release, (100,), state="draft")
    assert planning.unpassed_rings(general) == ["In ring Staging no device has verified the release yet."]


# --- what it may go on from -----------------------------------------------------------------------------------------


def test_a_plan_that_was_given_up_is_not_rolled_back(release, operator):
    campaign = fleet.campaign(release, (100,), state="draft")
    campaigns.abort(campaign, operator, "Not needed.", NOW)
    with refused("wrong_state"):
        campaigns.roll_back(campaign, operator, "To be sure.", NOW)
    assert now_in(campaign).state == "aborted"


def test_after_an_outage_it_is_resumed_by_whoever_has_a_reason(release, operator):
    updates = sorted(fleet.rollout(20, min_executed=1), key=lambda row: row.pk)
    campaign = updates[0].campaign
    Update.objects.filter(campaign=campaign).update(
        state="succeeded", installing_at=NOW - HOUR, rebooting_at=NOW - HOUR, ended_at=NOW - HOUR
    )
    Campaign.objects.filter(pk=campaign.pk).update(state="paused", pause_reason="offline_rate", paused_at=NOW - HOUR)
    for row in updates[:10]:
        fleet.presence(row.device, online=False, changed_at=NOW - 50 * MINUTE)
    campaigns.resume(campaign, operator, "The mobile network was down.", NOW)
    assert now_in(campaign).state == "running"


def test_a_stage_whose_devices_gave_up_by_themselves_does_not_pass(release):
    fleet.devices(40, release)
    campaign = started(release, (5, 100))
    advancing.advance(campaign.pk, NOW)
    Update.objects.active().update(state="canceled", reason_code="user", ended_at=NOW)
    advancing.advance(campaign.pk, NOW + MINUTE)
    assert not campaign.updates.filter(offered_at__isnull=False, stage=2).exists()
    advancing.advance(campaign.pk, NOW + DAY)
    advancing.advance(campaign.pk, NOW + 2 * DAY + MINUTE)
    assert now_in(campaign).pause_reason == "no_evidence"


# --- what it tells --------------------------------------------------------------------------------------------------


def stopped_by_itself(release, state="paused", **fields):
    campaign = fleet.campaign(release, (100,), **fields)
    updates = fleet.enlist(campaign, fleet.devices(20, release))
    pks = [row.pk for row in updates[:12]]
    Update.objects.filter(pk__in=pks).update(
        state="failed", offered_at=NOW, installing_at=NOW, ended_at=NOW, waiting=""
    )
    advancing.advance(campaign.pk, NOW)
    assert now_in(campaign).state == state
    return campaign


def the_finding():
    return Finding.objects.get(kind="campaign_stopped")


def test_that_it_paused_by_itself_is_a_finding_until_it_goes_on(release, operator):
    campaign = stopped_by_itself(release, rolls_back=False)
    found = the_finding()
    assert (found.subject, found.severity) == (f"#{campaign.pk} {campaign.name}", "critical")
    assert "error rate" in found.detail
    campaigns.retry_failed(campaign, operator, "Power was out.", NOW)
    assert the_finding().resolved_at is None
    campaigns.resume(campaign, operator, "Power is back.", NOW)
    assert the_finding().resolved_at is not None


def test_or_until_it_has_ended(release, operator):
    campaign = stopped_by_itself(release, rolls_back=False)
    campaigns.abort(campaign, operator, "No use.", NOW)
    advancing.advance(campaign.pk, NOW)
    assert (now_in(campaign).state, the_finding().resolved_at is None) == ("aborted", False)


def test_that_it_rolls_back_by_itself_is_a_finding_until_it_is_rolled_back(release):
    campaign = stopped_by_itself(release, "rolling_back")
    assert the_finding().resolved_at is None
    advancing.advance(campaign.pk, NOW + MINUTE)
    assert (now_in(campaign).state, the_finding().resolved_at is None) == ("rolled_back", False)


def test_what_somebody_paused_is_no_finding(release, operator):
    campaign = fleet.campaign(release, (100,))
    campaigns.pause(campaign, operator, "Lunch.", NOW)
    assert not Finding.objects.exists()
