"""The runbook of a campaign that went wrong: its commands as they are written there, and the command by itself."""

import io
import os
import re
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from devices.models import Event
from firmware.models import Stop
from tests.devices.test_runbooks import ROOT, RUNBOOKS, blocks
from tests.factories import StaffFactory, UserFactory
from tests.firmware import fleet


def ota_stop(*told):
    out = io.StringIO()
    call_command("ota_stop", *told, stdout=out)
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_the_commands_of_the_runbook_stop_everything_and_let_it_go_on(tmp_path):
    robin = StaffFactory(username="robin")
    fleet.rollout(3, name="Week 47")
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore "$@"\n')
    (tmp_path / "python").chmod(0o755)
    server, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "WHO": "robin",
        "DATABASE_URL": f"{server}/{connection.settings_dict['NAME']}",
    }  # fmt: skip
    said = []
    for kind, commands in blocks("runbooks/bad-release"):
        assert kind == ""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], cwd=ROOT, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    looked, stopped, lifted = said
    assert "No stop is in force." in looked
    assert "running, 3 under way: Week 47" in looked
    assert "All OTA is STOPPED" in stopped
    assert "cause unknown" in stopped
    assert "No stop is in force." in lifted
    stop = Stop.objects.get()
    assert (stop.started_by, stop.ended_by) == (robin, robin)
    assert list(Event.objects.order_by("pk").values_list("kind", "user__username")) == [
        ("campaign.stop_all", "robin"), ("campaign.lift_stop", "robin"),
    ]  # fmt: skip


@pytest.mark.django_db
class TestTheCommand:
    @pytest.mark.parametrize("told", [["on"], ["on", "--user", "robin"], ["off", "--reason", "why"]])
    def test_says_who_and_why_or_does_nothing(self, told):
        StaffFactory(username="robin")
        with pytest.raises(CommandError, match="both become evidence"):
            ota_stop(*told)
        assert not Stop.objects.exists()

    def test_is_for_staff(self):
        UserFactory(username="carla")
        with pytest.raises(CommandError, match="no member of staff called carla"):
            ota_stop("on", "--user", "carla", "--reason", "why")
        assert not Stop.objects.exists()

    def test_looks_at_an_empty_portal_and_lifts_nothing(self):
        StaffFactory(username="robin")
        assert ota_stop() == "No stop is in force.\nNo campaign is under way.\n"
        assert "no stop to lift" in ota_stop("off", "--user", "robin", "--reason", "why")

    def test_tells_why_a_campaign_is_where_it_is(self):
        fleet.campaign(fleet.release(), state="paused", name="Week 47", state_reason="4 of 40 failed")
        assert "paused, 0 under way: Week 47\n  4 of 40 failed" in ota_stop()


def test_the_page_says_all_that_is_needed_at_three_in_the_morning():
    page = (RUNBOOKS / "bad-release.md").read_text()
    parts = ["**Symptom.**", "**At stake.**", "## Check", "## Do", "## Verify", "## Afterwards"]
    assert [part for part in parts if part not in page] == []
    assert len(page.splitlines()) <= 100
    assert [link for link in re.findall(r"\]\(([^)#]+)\)", page) if not (RUNBOOKS / link).exists()] == []
