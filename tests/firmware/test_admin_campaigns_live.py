"""The live page of a campaign: stages, rates, devices and decisions, at a price that does not grow with the fleet."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.models import Device
from firmware import advancing, campaigns, rollbacks
from firmware.admin.campaign_standing import Fates, count, segments
from firmware.models import Campaign, Hold, Report, Stage, Update, Verdict
from tests.factories import StaffFactory
from tests.firmware import fleet
from tests.firmware.staff import OPERATOR, ROLES, SUPPORT, Press, page

pytestmark = pytest.mark.django_db
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks):
    return lambda role=SUPPORT: Press(client, django_capture_on_commit_callbacks, role)


@pytest.fixture
def release(db):
    return fleet.release("2.0.0")


def running(release, number=10, states=(), percents=(20, 100), opened=1, state="running", **fields):
    """A campaign under way; the first devices of it are in these states."""
    campaign = fleet.campaign(release, percents, state, **fields)
    rows, now = fleet.enlist(campaign, fleet.devices(number, release), opened=opened), timezone.now()
    for row, state in zip(rows, states, strict=False):
        ended = now if state in ("succeeded", "failed", "rejected", "skipped", "canceled", "rolled_back") else None
        Update.objects.filter(pk=row.pk).update(state=state, offered_at=now, ended_at=ended, waiting="")
    campaign.refresh_from_db()
    return campaign


def parts(person, campaign, query=""):
    response = person.client.get(page("live", campaign.pk, query=query))
    assert response.status_code == 200
    return response


class TestStanding:
    def test_each_device_of_a_stage_has_one_fate(self, release):
        states = ["succeeded", "failed", "installing", "downloading", "rejected", "skipped"]
        campaign = running(release, 10, states, percents=(60, 100))
        last = campaign.updates.order_by("-place")[0]
        Update.objects.filter(pk=last.pk).update(waiting="offline")
        found = count(campaign)
        first, second = found.stages[1], found.stages[2]
        assert (first.succeeded, first.failed, first.active, first.rejected, first.left) == (1, 1, 2, 1, 1)
        assert first.planned == 0
        assert (second.absent, second.planned, second.total) == (1, 3, 4)
        assert (found.revocable, found.installing, found.planned, found.whole.total) == (1, 1, 4, 10)

    def test_what_timed_out_before_anything_was_written_is_no_failure(self, release):
        campaign = running(release, 2)
        campaign.updates.update(state="timed_out", offered_at=timezone.now(), ended_at=timezone.now())
        assert (count(campaign).whole.failed, count(campaign).whole.left) == (0, 2)

    @pytest.mark.parametrize(
        "fates",
        [
            Fates(succeeded=1),
            Fates(succeeded=9_999, failed=1),
            Fates(1, 1, 1, 1, 1, 1, 1, 1),
            Fates(failed=1, planned=10**6),
        ],
        ids=["one", "a speck", "all kinds", "few"],
    )
    def test_a_bar_is_whole_and_shows_even_the_one_that_failed(self, fates):
        found = segments(fates)
        assert sum(each.width for each in found) == 1000
        assert min(each.width for each in found) >= 8
        assert [each.x for each in found] == [sum(each.width for each in found[:n]) for n in range(len(found))]

    def test_no_devices_make_no_bar(self):
        assert segments(Fates()) == []

    def test_who_was_led_back_has_not_failed(self, release):
        campaign = running(release, 3, ["rolled_back", "rolled_back", "rejected"], percents=(100,))
        first = campaign.updates.order_by("place")[0]
        Update.objects.filter(pk=first.pk).update(reason_code="taken_back")
        whole = count(campaign).whole
        assert (whole.taken_back, whole.failed, whole.rejected, whole.left, whole.total) == (1, 1, 1, 0, 3)

    def test_many_viewers_are_counted_for_once(self, desk, release):
        campaign, person = running(release), desk()
        person.sees(campaign)
        with CaptureQueriesContext(connection) as queries:
            person.sees(campaign)
        assert [each["sql"] for each in queries if "GROUP BY" in each["sql"] and "firmware_update" in each["sql"]] == []


class TestPage:
    def test_tells_where_the_campaign_is(self, desk, release):
        campaign = running(release, 10, ["succeeded", "failed", "installing"], percents=(50, 100))
        campaign.stages.filter(number=1).update(state="soaking", soak_from=timezone.now())
        response = desk().client.get(page("change", campaign.pk))
        text = response.content.decode()
        assert 'data-says="Running, stage 1 of 2 soaking. 1 failed."' in text
        assert 'aria-label="Stage 1: succeeded 1, failed 1, under way 1, to come 2"' in text
        assert "watched for another" in text
        assert "data-until" in text
        assert f'data-parts="{page("live", campaign.pk)}"' in text

    def test_tells_who_refused_and_who_was_taken_back(self, desk, release):
        campaign = running(release, 3, ["rolled_back", "rejected", "failed"], percents=(100,))
        Update.objects.filter(state="rolled_back").update(reason_code="taken_back")
        text = parts(desk(), campaign).content.decode()
        assert "1 failed, 1 refused, 1 taken back." in text
        assert 'aria-label="Stage 1: failed 1, refused 1, taken back 1"' in text
        assert '<dt>Refused</dt><dd><a class="bad" href="?state=rejected#devices">1</a>' in text
        assert '<dt>Taken back</dt><dd><a href="?state=taken_back#devices">1</a>' in text
        assert '<span class="badge badge-rolled_back">Taken back</span>' in text
        found = parts(desk(), campaign, "?state=taken_back").context["devices"].rows
        assert [row.update.reason_code for row in found] == ["taken_back"]

    def test_tells_what_those_that_can_not_be_taken_back_are_at(self, desk, release):
        campaign = running(release, 4, ["installing", "verifying", "verifying", "downloading"], percents=(100,))
        assert "(1 installing, 2 verifying)" in parts(desk(), campaign).content.decode()

    def test_tells_who_waits_for_a_window(self, desk, release):
        campaign = running(release, 3, percents=(100,))
        Update.objects.filter(pk=campaign.updates.first().pk).update(waiting="window")
        assert "(1 waits for its maintenance window)" in parts(desk(), campaign).content.decode()
        Update.objects.update(waiting="window")
        cache.clear()
        assert "(3 wait for their maintenance window)" in parts(desk(), campaign).content.decode()

    def test_tells_when_it_was_decided_to_the_second_and_in_utc(self, desk, release):
        campaign = running(release)
        at = datetime(2026, 11, 21, 16, 5, 31, tzinfo=UTC)
        Verdict.objects.create(campaign=campaign, at=at, gate="soak", action="soak", text="x", figures={})
        assert ">2026-11-21 16:05:31 UTC</time>" in parts(desk(), campaign).content.decode()

    def test_leads_to_the_way_back_as_it_is_now(self, desk, release):
        campaign = running(release, 1, state="rolling_back")
        child = rollbacks.begin(campaign, timezone.now())
        assert "Devices are led back by" in parts(desk(), campaign).content.decode()
        Campaign.objects.filter(pk=child.pk).update(state="completed", ended_at=timezone.now())
        text = parts(desk(), campaign).content.decode()
        assert "Devices were led back by" in text and "badge-completed" in text

    def test_says_nothing_of_a_way_back_that_nobody_went(self, desk, release):
        campaign = running(release, 4, percents=(50, 100), opened=1, state="rolling_back")
        rollbacks.begin(campaign, timezone.now())
        Campaign.objects.filter(pk=campaign.pk).update(state="rolled_back", ended_at=timezone.now())
        text = parts(desk(), campaign).content.decode()
        assert "led back by" not in text
        assert "Not reached" in text and "Pending" not in text

    def test_a_soak_that_is_over_ends_in_a_moment(self, desk, release):
        campaign = running(release, 4)
        campaign.stages.filter(number=1).update(state="soaking", soak_from=timezone.now() - timedelta(days=1))
        assert ">moment</time>" in desk().sees(campaign)

    def test_a_paused_soak_has_no_end(self, desk, release):
        campaign = running(release, 4)
        campaign.stages.filter(number=1).update(state="soaking", soak_from=timezone.now())
        campaigns.pause(campaign, StaffFactory(), "Wait", timezone.now())
        text = desk().sees(campaign)
        assert "data-until" not in text
        assert "Somebody paused it: Wait" in text

    def test_shows_what_the_engine_counted_and_how_near_each_limit_is(self, desk, release):
        campaign = running(release, 20, ["succeeded"] * 9 + ["failed"], percents=(50, 100), opened=1, error_rate=5000)
        advancing.advance(campaign.pk, timezone.now())
        response = desk().client.get(page("change", campaign.pk))
        gauges = {each.told.gate: each for each in response.context["gauges"]}
        assert gauges["error_rate"].told.value.startswith("10 %")
        assert (gauges["error_rate"].told.limit, gauges["error_rate"].width, gauges["error_rate"].tone) == (
            "50 %",
            100,
            "good",
        )
        assert "Engine, " in response.content.decode()
        verdict = Verdict.objects.filter(campaign=campaign).latest("pk")
        assert verdict.text.replace("'", "&#x27;") in response.content.decode()

    def test_a_rate_over_its_limit_is_said_in_words(self, desk, release):
        campaign = running(release, 20, ["succeeded"] * 5 + ["failed"] * 5, percents=(50, 100), rolls_back=False)
        advancing.advance(campaign.pk, timezone.now())
        text = desk().sees(campaign)
        assert "over the limit of 2 %" in text
        assert "Too many failed:" in text
        assert "badge-paused" in text

    def test_before_the_engine_looked_there_are_no_rates(self, desk, release):
        assert desk().client.get(page("change", running(release).pk)).context["gauges"] == []

    def test_says_that_everything_is_stopped(self, desk, release):
        campaign = running(release)
        campaigns.stop_all(StaffFactory(), "Fire", timezone.now())
        cache.clear()
        assert "Nothing is offered: all firmware is stopped." in parts(desk(), campaign).content.decode()

    def test_everybody_of_the_staff_may_look(self, desk, release):
        campaign = running(release)
        assert [desk(role).client.get(page("live", campaign.pk)).status_code for role in ROLES] == [200] * len(ROLES)

    def test_what_has_not_started_has_nothing_to_watch(self, desk, release):
        campaign = fleet.campaign(release, (100,), "draft")
        assert desk().client.get(page("live", campaign.pk)).status_code == 404

    def test_the_fragment_is_what_moves_and_nothing_else(self, desk, release):
        response = parts(desk(OPERATOR), running(release))
        text = response.content.decode()
        assert ("<html" in text, "act-pause" in text, "csrfmiddlewaretoken" in text) == (False, True, True)
        assert "no-store" in response["Cache-Control"]

    def test_no_text_of_anybody_becomes_a_page(self, desk, release):
        campaign = running(release, 3, ["failed"], name=SCRIPT)
        Device.objects.update(name=SCRIPT)
        Update.objects.update(reason_code=SCRIPT, detail=SCRIPT, serial=SCRIPT, from_version=SCRIPT, boot_id=SCRIPT)
        Verdict.objects.create(
            campaign=campaign, gate=SCRIPT[:20], action=SCRIPT[:20], text=SCRIPT, figures={"a": SCRIPT}, user=SCRIPT
        )
        Campaign.objects.filter(pk=campaign.pk).update(
            state_reason=SCRIPT, figures={"tally": {}, "decision": {"text": SCRIPT}}
        )
        person = desk(OPERATOR)
        row = campaign.updates.first()
        Report.objects.create(
            update=row, at=timezone.now(), attempt=1, seq=1, state=SCRIPT, firmware_version=SCRIPT, boot_id=SCRIPT,
            applied=False, reason_code=SCRIPT,
        )  # fmt: skip
        texts = [
            person.sees(campaign),
            person.client.get(page("live", campaign.pk, query=f"?q={SCRIPT}&state={SCRIPT}&stage={SCRIPT}")),
            person.client.get(page("report", campaign.pk)),
            person.client.get(f"/admin/firmware/update/{row.pk}/change/"),
            person.client.get("/admin/firmware/update/"),
            person.client.get(page("changelist")),
            person.press(campaign, "pause"),
        ]
        for each in texts:
            text = each if isinstance(each, str) else each.content.decode()
            assert ("<script>" in text.lower(), "&lt;script&gt;" in text.lower()) == (False, True)

    def test_costs_the_same_with_3_devices_and_with_300(self, desk, release):
        costs = []
        for number in (3, 300):
            campaign = running(release, number, ["succeeded", "failed", "downloading"], error_rate=9_000)
            for n in range(number // 3):
                Verdict.objects.create(campaign=campaign, gate="soak", action="soak", text="x", figures={"n": n})
            person = desk(OPERATOR)
            for address in (page("change", campaign.pk), page("live", campaign.pk)):
                person.client.get(address)
                cache.clear()
                with CaptureQueriesContext(connection) as queries:
                    person.client.get(address)
                costs.append(len(queries))
        assert costs == [14, 14, 14, 14]


class TestDevices:
    @pytest.fixture
    def campaign(self, release):
        campaign = running(release, 8, ["succeeded", "failed", "downloading", "rejected"], percents=(50, 100))
        Update.objects.filter(state="downloading").update(progress=42)
        Update.objects.filter(state="rejected").update(reason_code="battery", needs_attention=True)
        rows = list(campaign.updates.order_by("place"))
        Update.objects.filter(pk=rows[-1].pk).update(waiting="offline")
        Device.objects.filter(pk=rows[0].device_id).update(name="Cellar pump")
        return campaign

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("", 8), ("?state=failed", 1), ("?state=failures", 1), ("?state=moving", 1), ("?state=planned", 4),
            ("?state=attention", 1), ("?stage=1", 4), ("?waiting=offline", 1), ("?stage=2&state=succeeded", 0),
            ("?q=cellar", 1), ("?q=nobody", 0), ("?state=nonsense&waiting=x&stage=9999999999&p=x", 8), ("?q=%00", 8),
        ],
    )  # fmt: skip
    def test_are_narrowed(self, desk, campaign, query, found):
        page_ = parts(desk(), campaign, query).context["devices"]
        assert page_.page.paginator.count == found

    def test_are_found_by_serial_and_device_id(self, desk, campaign):
        device = campaign.updates.first().device
        for word in (device.device_id, device.hardware_id):
            assert word in parts(desk(), campaign, f"?q={word}").content.decode()

    def test_say_why_they_are_where_they_are(self, desk, campaign):
        text = parts(desk(), campaign).content.decode()
        assert "42 %" in text
        assert "Too little battery" in text
        assert "Needs attention" in text
        assert "waits offline" in text

    def test_come_page_by_page_and_keep_their_filter(self, desk, release):
        campaign, person = running(release, 60), desk()
        first = parts(person, campaign, "?state=planned")
        assert len(first.context["devices"].rows) == 50
        assert "?state=planned&amp;p=2#devices" in first.content.decode()
        assert len(parts(person, campaign, "?state=planned&p=2").context["devices"].rows) == 10

    def test_nobody_is_said_kindly(self, desk, campaign):
        assert "No device is like that" in parts(desk(), campaign, "?q=nobody").content.decode()


class TestUpdate:
    def url(self, update, page_="change"):
        return f"/admin/firmware/update/{update.pk}/{page_}/"

    def test_tells_everything_about_one_device(self, desk, release):
        campaign = running(release, 1, ["failed"])
        update = campaign.updates.get()
        Update.objects.filter(pk=update.pk).update(
            installing_boot_id="boot-7", boot_id="boot-8", reason_code="self_check", detail="The pump did not turn"
        )
        now = timezone.now()
        common = {"update": update, "firmware_version": "1.0.0", "boot_id": "boot-7", "attempt": 1}
        Report.objects.create(at=now, seq=1, state="installing", applied=True, **common)
        Report.objects.create(at=now + timedelta(seconds=1), seq=0, state="notified", applied=False, count=3, **common)
        Hold.objects.create(
            device=update.device, kind="version", version="2.0.0", update=update, reason="It rolled back"
        )
        text = desk().client.get(self.url(update)).content.decode()
        for told in (
            "boot-7", "boot-8", "Its self-check did not pass", "The pump did not turn",
            "changed nothing, said 3 times", "1 report changed nothing", "It rolled back", "In force",
        ):  # fmt: skip
            assert told in text
        assert page("change", campaign.pk) in text

    def test_is_linked_from_its_row(self, desk, release):
        campaign = running(release, 1)
        assert self.url(campaign.updates.get()) in desk().sees(campaign)

    def test_costs_the_same_with_any_number_of_reports(self, desk, release):
        update, person, costs = running(release, 1, ["installing"]).updates.get(), desk(), []
        for number in range(1, 8):
            Report.objects.create(
                update=update, at=timezone.now(), attempt=1, seq=number, state="installing", firmware_version="1",
                boot_id="b", applied=True,
            )  # fmt: skip
            with CaptureQueriesContext(connection) as queries:
                person.client.get(self.url(update))
            costs.append(len(queries))
        assert len(set(costs[1:])) == 1

    def test_is_only_looked_at(self, desk, release):
        update = running(release, 1).updates.get()
        person = desk(OPERATOR)
        assert person.client.post(self.url(update), {"state": "succeeded"}).status_code == 403
        assert person.client.get("/admin/firmware/update/add/").status_code == 403
        assert Stage.objects.exists()
