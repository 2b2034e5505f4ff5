"""Staff decide while the queue is away: it stays decided, they are told, and it is done once the queue is back."""

import re
import threading
import time
from contextlib import ExitStack

import httpx
import pytest

from fleetportal.embedded import place, ports, valkey
from fleetportal.embedded.program import running
from tests import fleet as fleets
from tests.fleet import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def post(client, path, **data):
    """Send a form as a browser would."""
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(path).text)[1]
    address = str(client.base_url.join(path))
    return client.post(path, data=data | {"csrfmiddlewaretoken": token}, headers={"Referer": address})


def test_a_quarantine_without_the_queue_is_carried_out_within_a_minute_of_its_return(tmp_path):
    with place.temporary() as here, fleets.folder() as var, ExitStack() as stack:
        program, logs = valkey.server(here, ports.any_free(), "of-this-test-only"), here.own_folder("log")
        queue = stack.enter_context(ExitStack())
        queue.enter_context(running(program, logs))
        fleet = stack.enter_context(fleets.running(var, "--no-swarm", REDIS_URL=program.url))
        user, device = fleet.user("operator"), fleet.device(tmp_path / "device")
        stack.callback(device.close)
        eventually(device.client.is_connected, what="connected")
        gone = threading.Event()
        device.client.on_disconnect = lambda *_: gone.set()
        ((pk,),) = fleet.sql("SELECT id FROM devices_device WHERE device_id = %s", device.device_id)
        client = stack.enter_context(httpx.Client(base_url=fleet.run["http_url"], follow_redirects=True, timeout=60))
        post(client, "/sign-in/", username=user["username"], password=user["password"])

        path = f"/admin/devices/device/?q={device.device_id}"
        form = {"action": "quarantine", "_selected_action": str(pk), "reason": "odd", "confirmed": "yes"}
        client.get(path).raise_for_status()
        queue.close()
        began = time.monotonic()
        page = post(client, path, **form)
        print(f"answered without a queue after {time.monotonic() - began:.1f} s")
        assert page.status_code == 200
        assert "The queue is away" in page.text
        assert fleet.sql("SELECT state FROM devices_device WHERE id = %s", pk) == [("quarantined",)]
        assert not gone.is_set()

        queue.enter_context(running(program, logs))
        back = time.monotonic()
        assert gone.wait(75)
        print(f"cut {time.monotonic() - back:.1f} s after the queue came back")
        told = "SELECT detail->>'cause' FROM devices_event WHERE kind = 'device.cut_off' AND device_id = %s"
        assert eventually(lambda: fleet.sql(told, pk), what="the event") == [("device.quarantined",)]
        assert device.device_id in (fleet.var / "broker" / "acl").read_text()
