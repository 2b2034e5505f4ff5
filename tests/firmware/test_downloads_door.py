"""Downloads through the devices' real door: over mutual TLS, from many slow readers at once, within bounded memory."""

import http.client
import json
import os
import re
import socket
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from devices import tokens
from devices.models import Device
from firmware import files, links
from tests.devices import https_door as https
from tests.devices import peers
from tests.devices.peers import eventually
from tests.firmware import fleet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ca")]
READERS = 200
MIB = 1024 * 1024


def memory(pid, what="VmRSS") -> int:
    """Of a process, in bytes."""
    return int(re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def threads(pid) -> int:
    return int(re.search(r"Threads:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def connections(name) -> int:
    """To the database, of the process that calls itself so."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name])
        return cursor.fetchone()[0]


def path_of(update) -> str:
    return links.PATH + links.token(update)


def offered_to(*devices, data):
    made = fleet.release(data=data)
    return {row.device_id: row for row in fleet.offered(fleet.campaign(made), devices)}


def test_only_the_devices_own_certificate_opens_its_link(https_door, tmp_path):
    data = os.urandom(300_000)
    mine, other = peers.enrolled(tmp_path), peers.enrolled(tmp_path)
    device = Device.objects.get(device_id=mine.device_id)
    update = offered_to(device, data=data)[device.pk]
    wanted = f"/api/v1/updates/{update.update_id}"
    told = json.loads(https_door.ask("GET", wanted, who=mine).body)
    assert told["wanted"] is True
    path = path_of(update)
    whole = https_door.ask("GET", path, who=mine)
    assert (whole.status, whole.body, whole.headers["Content-Length"]) == (200, data, "300000")
    rest = https_door.ask("GET", path, who=mine, Range="bytes=100000-", If_Range=whole.headers["ETag"])
    assert (rest.status, rest.body) == (206, data[100_000:])
    assert https_door.ask("HEAD", path, who=mine).headers["Content-Length"] == "300000"
    beyond = https_door.ask("GET", path, who=mine, Range="bytes=300000-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, "bytes */300000")
    refused = [https_door.ask("GET", path, who=who) for who in (other, None)]
    assert [(each.status, each.code) for each in refused] == [(403, "link_bad"), (401, "credential_missing")]
    assert https_door.ask("GET", wanted, who=other).status == 404
    assert https_door.ask("GET", path[:-1], who=mine).code == "link_bad"


class Slow:
    """A reader with a small buffer that asks and then takes nothing."""

    def __init__(self, door, path, token):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", door.port))
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())

    def head(self) -> bytes:
        """The answer's beginning: the server has begun to send."""
        return self.socket.recv(64)

    def rest(self, begun: bytes) -> bytes:
        """Everything."""
        parts = [begun]
        while sum(map(len, parts)) < 8 * MIB and (block := self.socket.recv(MIB)):
            parts.append(block)
        return b"".join(parts).partition(b"\r\n\r\n")[2]


def test_two_hundred_slow_readers_hold_no_thread_and_no_connection(tmp_path):
    data = os.urandom(MIB) * 8
    *devices, extra = fleet.devices(READERS // 2 + 1)
    updates = offered_to(*devices, extra, data=data)
    credentials = {device.pk: tokens.make(device, timezone.now())[1] for device in devices}
    database = f"{https.environment()['DATABASE_URL']}?application_name=slow"
    changes = {"DOWNLOADS_AT_ONCE": str(READERS), "DATABASE_POOL": "4", "DATABASE_URL": database}
    with https.opened(tmp_path / "log", "--plain", **changes) as door:
        pid = door.process.pid
        before, idle = memory(pid), threads(pid)
        readers = []
        try:
            readers += [Slow(door, path_of(updates[each.pk]), credentials[each.pk]) for each in devices * 2]
            begun = [reader.head() for reader in readers]
            assert {each[:15] for each in begun} == {b"HTTP/1.1 200 OK"}
            grown = memory(pid) - before
            figures = f"{threads(pid)} threads (idle {idle}), {connections('slow')} connections"
            print(f"{READERS} slow readers: {figures}, {grown / MIB:.0f} MiB more")
            # What a request needed is given back when its answer has begun; what is left serves all of them.
            eventually(lambda: threads(pid) <= idle + 12, what="threads have ended")
            assert connections("slow") <= 4
            assert grown < 250 * MIB
            # The door is as open as before; for one more download it is not.
            assert door.ask("GET", "/livez").status == 200
            update, bearer = updates[extra.pk], f"Bearer {tokens.make(extra, timezone.now())[1]}"
            assert door.ask("GET", f"/api/v1/updates/{update.update_id}", Authorization=bearer).status == 200
            answer = door.ask("GET", path_of(update), Authorization=bearer)
            assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "busy", "15")
            # Slow is not broken: a reader that goes on gets it all.
            assert readers[0].rest(begun[0]) == data
        finally:
            for reader in readers:
                reader.socket.close()
        eventually(lambda: door.ask("GET", path_of(update), Authorization=bearer).status == 200, what="slots are back")
        assert b"Traceback" not in door.log.read_bytes()


def test_a_long_download_stays_small_in_memory(tmp_path):
    length = 200 * MIB
    device = fleet.devices(1)[0]
    update = offered_to(device, data=bytes(length))[device.pk]
    with https.opened(tmp_path / "log", "--plain", DATABASE_POOL="4") as door:
        bearer = f"Bearer {tokens.make(device, timezone.now())[1]}"
        door.ask("GET", f"/api/v1/updates/{update.update_id}", Authorization=bearer)
        before = memory(door.process.pid)
        line = http.client.HTTPConnection("127.0.0.1", door.port, timeout=60)
        line.request("GET", path_of(update), headers={"Authorization": bearer})
        answer, taken = line.getresponse(), 0
        while block := answer.read(MIB):
            taken += len(block)
        line.close()
        grown = memory(door.process.pid, "VmHWM") - before
        print(f"{length // MIB} MiB sent: {grown / MIB:.1f} MiB more at the peak")
        assert (answer.status, taken) == (200, length)
        assert grown < 60 * MIB
    files.store().delete(files.name(update.release.artifact.sha256))
