"""A revocation that does not cut the live session is none: from the click to the cut, and never back in."""

import os
import signal
import ssl
import statistics
import threading
import time

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.chromium import sign_in
from tests.fleet import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("fleet"), pytest.mark.timeout(300)]
CUT_SECONDS = 5.0
ROUNDS = 10


@pytest.fixture
def staff(fleet, browser):
    context = browser.new_context()
    user = fleet.user("security")
    yield sign_in(context, fleet.run["http_url"], user["username"], user["password"], "/admin/")
    context.close()


def act(page, url, path, action, reason="found in a skip"):
    """Choose the one row of a list, an action, and say why. Returns the moment of the click that decides."""
    page = page.context.new_page()  # in the old one the answer to the last act may still be on its way
    page.goto(url + path)
    page.locator("input.action-select").check()
    page.select_option("select[name=action]", action)
    page.get_by_role("button", name="Go").click()
    page.fill("input[name=reason]", reason)
    page.locator("input[type=submit].default").click(no_wait_after=True)
    return time.monotonic()


def spoken(device, value):
    """Publish a reading; its id, or nothing while the device is being cut off."""
    try:
        return device.reading(temperature_c=value)
    except RuntimeError:
        return None


def may_connect(fleet, device):
    """Does the broker let this certificate in?"""
    answered, decided = threading.Event(), threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=device.device_id)
    client.tls_set(fleet.run["ca_file"], str(device.identity.credentials))
    client.on_connect = lambda *_: (answered.set(), decided.set())
    client.on_disconnect = lambda *_: decided.set()  # with TLS 1.3 a refusal comes after the handshake
    try:
        client.connect(fleet.run["mqtt_host"], fleet.run["mqtt_port"])
        client.loop_start()
        decided.wait(5)
        return answered.is_set()
    except (ssl.SSLError, OSError):
        return False
    finally:
        client.disconnect()
        client.loop_stop()


def test_from_the_click_to_the_cut_and_never_back_in_while_others_live_on(fleet, device, staff, tmp_path):
    fleet_mate = fleet.device(tmp_path / "mate")
    fleet_mate.close()
    taken, victims = [], []
    for number in range(ROUNDS):
        victim = fleet.device(tmp_path / f"victim-{number}")
        eventually(victim.client.is_connected, what="connected")
        gone = threading.Event()
        victim.client.on_disconnect = lambda *_, gone=gone: gone.set()
        path = f"/admin/devices/certificate/?q={victim.identity.serial}"
        clicked = act(staff, fleet.run["http_url"], path, "revoke")
        assert gone.wait(10)
        taken.append(time.monotonic() - clicked)
        eventually(lambda victim=victim: not may_connect(fleet, victim), seconds=5, what="kept out")
        victim.close()
        victims.append(victim)
    told = f"median {statistics.median(taken):.2f} s, slowest {max(taken):.2f} s"
    print(f"click to cut, {ROUNDS} rounds: {told}")
    assert statistics.median(taken) <= CUT_SECONDS
    assert device.client.is_connected()
    assert device.reading(temperature_c=7.0)
    reasons = fleet.sql("SELECT DISTINCT reason FROM devices_event WHERE kind = 'certificate.revoked'")
    assert ("found in a skip",) in reasons
    fleet.wait_restarted("mosquitto", fleet.kill("mosquitto"))
    eventually(lambda: may_connect(fleet, fleet_mate), what="the broker is back")
    assert not any(may_connect(fleet, victim) for victim in victims)
    eventually(device.client.is_connected, what="the others are back too")


def test_work_that_takes_long_delays_no_cut(fleet, device, staff):
    """The worker of audits, purges and rotation is stopped, as if it were busy for ever."""
    gone = threading.Event()
    device.client.on_disconnect = lambda *_: gone.set()
    busy = fleet.run["pids"]["worker"]
    os.kill(busy, signal.SIGSTOP)
    try:
        path = f"/admin/devices/certificate/?q={device.identity.serial}"
        clicked = act(staff, fleet.run["http_url"], path, "revoke")
        assert gone.wait(CUT_SECONDS)
        print(f"click to cut beside a busy worker: {time.monotonic() - clicked:.2f} s")
        query = "SELECT detail->>'seconds' FROM devices_event e JOIN devices_device d ON d.id = e.device_id"
        query += " WHERE e.kind = 'device.cut_off' AND d.device_id = %s"
        ((seconds,),) = eventually(lambda: fleet.sql(query, device.device_id), what="the event")
        assert float(seconds) < CUT_SECONDS
    finally:
        os.kill(busy, signal.SIGCONT)


def test_a_quarantined_device_may_only_say_that_it_is_there(fleet, device, browser):
    context = browser.new_context()
    user = fleet.user("operator")
    page = sign_in(context, fleet.run["http_url"], user["username"], user["password"], "/admin/")
    path = f"/admin/devices/device/?q={device.device_id}"
    act(page, fleet.run["http_url"], path, "quarantine")
    eventually(lambda: device.device_id in (fleet.var / "broker" / "acl").read_text(), what="its ACL")
    refused = eventually(lambda: spoken(device, 8.0), what="back, but restricted")
    act(page, fleet.run["http_url"], path, "release")
    eventually(lambda: device.device_id not in (fleet.var / "broker" / "acl").read_text(), what="its ACL gone")

    sent = []

    def heard():
        sent.append(spoken(device, 9.0))
        return fleet.sql(
            "SELECT 1 FROM telemetry_reading WHERE msg_id = ANY(%s::uuid[])", [each for each in sent if each]
        )

    eventually(heard, every=0.5, what="heard again")
    assert fleet.sql("SELECT 1 FROM telemetry_reading WHERE msg_id = %s", refused) == []
    context.close()
