"""The demo's firmware, as its people use it: upload, approve by somebody else, watch fifty devices update, or not."""

import hashlib
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.chromium import chromium, sign_in
from tests.fleet import Fleet, eventually, folder, running

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("campaigns"), pytest.mark.timeout(600)]
DEVICES = 50
ENDS = ("completed", "aborted", "rolled_back", "rollback_incomplete")
HASTE = {
    "pace": {"reboot_jitter_seconds": 1, "use_windows": False},
    "gates": {"verify_seconds": 2, "offline_grace_seconds": 30},
}


class Person:
    """Somebody of the demo who uses the API with the session of the pages."""

    def __init__(self, fleet: Fleet, username: str) -> None:
        self.http = httpx.Client(base_url=fleet.run["http_url"], timeout=30)
        user = fleet.user(username)
        page = self.http.get("/sign-in/").text
        token = re.search(r'csrfmiddlewaretoken" value="([^"]+)', page)[1]
        told = {"csrfmiddlewaretoken": token, "username": username, "password": user["password"]}
        assert self.http.post("/sign-in/", data=told).status_code == 302

    def post(self, path: str, expected: int = 200, seen: str = "", **options: Any) -> dict[str, Any]:
        headers = {"X-CSRFToken": self.http.cookies["csrftoken"]} | ({"If-Match": seen} if seen else {})
        answer = self.http.post(f"/api/v1{path}", headers=headers, **options)
        assert answer.status_code == expected, answer.text
        return dict(answer.json())

    def get(self, path: str) -> dict[str, Any]:
        return dict(self.http.get(f"/api/v1{path}").json())

    def tag(self, path: str) -> str:
        return str(self.http.get(f"/api/v1{path}").headers["ETag"])


@pytest.fixture(scope="module")
def fleet():
    """Fifty devices, on some of which version 2.0.0 finds itself broken. Campaigns are looked at every second."""
    with folder() as var, running(
        var, "--swarm", str(DEVICES), "--bad-release", "2.0.0:30:self_check", ROLLOUT_EVERY="1s"
    ) as fleet:  # fmt: skip
        speaking = "SELECT count(*) FROM devices_presence WHERE online AND firmware_version <> ''"
        eventually(lambda: fleet.sql(speaking)[0][0] == DEVICES, 60, what="all are there")
        yield fleet


def upload(fleet: Fleet, author: Person, path: Path) -> int:
    types = ["cold-logger", "energy-meter", "pump"]
    version = re.search(r"\d+\.\d+\.\d+", path.name)[0]
    files = {
        "file": (path.name, path.read_bytes()),
        "signature": ("s", path.with_name(f"{path.name}.sig").read_bytes()),
    }
    return int(author.post("/releases", 201, data={"version": version, "device_types": types}, files=files)["id"])


def begin(fleet: Fleet, release: int, soak: int) -> int:
    """A campaign in five stages, approved by a second person, started by a third."""
    author, approver, operator = (Person(fleet, name) for name in ("author", "approver", "operator"))
    stages = [{"percent": percent, "soak_seconds": soak} for percent in (1, 5, 10, 25, 100)]
    told = {"name": f"Release {release}", "release": release, "stages": stages} | HASTE
    number = int(author.post("/campaigns", 201, json=told)["id"])
    planned = author.post(f"/campaigns/{number}/dry-run", json={})
    assert [stage["size"] for stage in planned["stages"]] == [1, 3, 5, 13, 50]
    assert planned["problems"] == []
    author.post(f"/campaigns/{number}/submit", json={})
    author.post(f"/campaigns/{number}/approve", 403, json={})
    approver.post(f"/campaigns/{number}/approve", 428, json={"reason": "read nothing"})
    seen = approver.tag(f"/campaigns/{number}")
    approver.post(f"/campaigns/{number}/approve", seen=seen, json={"reason": "read the notes"})
    operator.post(f"/campaigns/{number}/start", json={})
    return number


def made(fleet: Fleet, version: str) -> Path:
    """An image of ours, signed with the demo's key."""
    files = Path(fleet.run["firmware_files"])
    path = files / f"agent-{version}.img"
    known = (files / "good" / "agent-1.1.0.img").read_bytes()
    path.write_bytes(known.replace(b'"version": "1.1.0"', f'"version": "{version}"'.encode()))
    key = serialization.load_pem_private_key((files / "build-server.key").read_bytes(), None)
    line = f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n".encode()
    path.with_name(f"{path.name}.sig").write_bytes(key.sign(line, ec.ECDSA(hashes.SHA256())))
    return path


def versions(fleet: Fleet) -> dict[str, int]:
    """What devices say they run."""
    return dict(fleet.sql("SELECT firmware_version, count(*) FROM devices_presence WHERE online GROUP BY 1"))


def state(fleet: Fleet, number: int) -> str:
    return str(fleet.sql("SELECT state FROM firmware_campaign WHERE id = %s", number)[0][0])


def test_fifty_devices_update_in_five_stages_and_the_page_shows_it_without_reload(fleet):
    release = upload(fleet, Person(fleet, "author"), Path(fleet.run["firmware_files"]) / "good" / "agent-1.1.0.img")
    number = begin(fleet, release, soak=2)
    user = fleet.user("operator")
    with chromium() as browser:
        path = f"/admin/firmware/campaign/{number}/change/"
        page = sign_in(browser.new_context(), fleet.run["http_url"], user["username"], user["password"], path)
        page.evaluate("window.loadedOnce = true")
        page.get_by_text("Completed", exact=True).first.wait_for(timeout=180_000)
        assert page.evaluate("window.loadedOnce"), "the page was loaded anew"
        assert page.errors == []
    assert state(fleet, number) == "completed"
    assert versions(fleet) == {"1.1.0": DEVICES}
    passed = "SELECT number, state, size FROM firmware_stage WHERE campaign_id = %s ORDER BY number"
    assert fleet.sql(passed, number) == [(n, "passed", size) for n, size in enumerate((1, 3, 5, 13, 50), 1)]
    opened = fleet.sql(
        "SELECT stage, count(*) FROM firmware_update WHERE campaign_id = %s AND state = 'succeeded' GROUP BY 1", number
    )
    assert dict(opened) == {1: 1, 2: 2, 3: 2, 4: 8, 5: 37}


def test_a_release_that_is_bad_on_some_devices_stops_in_its_first_stages_and_is_taken_back(fleet):
    """It works on seven of ten: stages may pass before one fails, and those that succeeded are led back, too."""
    before = versions(fleet)
    number = begin(fleet, upload(fleet, Person(fleet, "author"), made(fleet, "2.0.0")), soak=2)
    eventually(lambda: state(fleet, number) in ENDS, 240, what="an end")
    assert state(fleet, number) == "rolled_back"
    eventually(lambda: versions(fleet) == before, 60, what="all run what they ran before")
    offered = fleet.sql(
        "SELECT count(*) FROM firmware_update WHERE campaign_id = %s AND offered_at IS NOT NULL", number
    )
    assert 0 < offered[0][0] <= 13, "it was stopped by the fourth stage"
    ended = fleet.sql(
        "SELECT DISTINCT state FROM firmware_update WHERE campaign_id = %s AND offered_at IS NOT NULL", number
    )
    assert {row[0] for row in ended} <= {"rolled_back", "canceled"}
    led_back = fleet.sql(
        "SELECT u.state, u.reason_code, count(*) FROM firmware_update u"
        " JOIN firmware_campaign c ON c.id = u.campaign_id"
        " WHERE c.rollback_of_id = %s GROUP BY 1, 2",
        number,
    )
    print(f"offered {offered[0][0]}, led back by the portal: {led_back}")
    # Who went back by itself between the plan and its turn is left alone.
    needless = {("skipped", "already_installed"), ("skipped", "elsewhere")}
    assert {row[0] for row in led_back if row[:2] not in needless} <= {"succeeded"}
    held = fleet.sql("SELECT DISTINCT version FROM firmware_hold WHERE cleared_at IS NULL")
    assert held == [("2.0.0",)]


def test_the_demos_bad_file_is_stopped_by_the_first_device(fleet):
    path, before = Path(fleet.run["firmware_files"]) / "bad" / "agent-1.2.0.img", versions(fleet)
    number = begin(fleet, upload(fleet, Person(fleet, "author"), path), soak=1)
    eventually(lambda: state(fleet, number) in ENDS, 120, what="an end")
    assert state(fleet, number) == "rolled_back"
    eventually(lambda: versions(fleet) == before, 60, what="all run what they ran before")
    tried = fleet.sql("SELECT count(*) FROM firmware_update WHERE campaign_id = %s AND offered_at IS NOT NULL", number)
    assert tried == [(1,)]
