"""A long upload to a real portal, and the long way back: what it costs in memory, and what is left of a broken one."""

import hashlib
import http.client
import json
import re
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from firmware import files, upload_tokens
from firmware.models import Release
from fleetportal.embedded import ports
from tests.devices import https_door as https
from tests.devices.peers import eventually
from tests.factories import DeviceTypeFactory, StaffFactory
from tests.firmware import signers

pytestmark = pytest.mark.django_db(transaction=True)
MIB = 1024 * 1024
LENGTH = 200 * MIB
BLOCK = bytes(range(256)) * 4096
ALLOWED = 80 * MIB


def memory(pid, what) -> int:
    """Of a process, in bytes."""
    return int(re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


@pytest.fixture
def portal(tmp_path):
    """The portal as a process: its port and pid."""
    port = ports.any_free()
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "uvicorn", "fleetportal.asgi:application", f"--port={port}", "--ws=none"]
    env = https.environment() | {"DATABASE_POOL": "4", "TMPDIR": str(tmp_path / "tmp")}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=https.ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)

    def answers():
        assert process.poll() is None, (tmp_path / "log").read_text()
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            line.request("GET", "/livez")
            return line.getresponse().status == 200
        except OSError:
            return False
        finally:
            line.close()

    try:
        eventually(answers, 60, what="the portal answers")
        yield port, process.pid, tmp_path / "tmp"
    finally:
        process.terminate()
        process.wait(20)


def head_and_tail(signature):
    """The multipart body around the file."""
    fields = {"version": "1.4.0", "device_types": "pump", "signature": signature}
    head = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()
    )
    head += '--x\r\nContent-Disposition: form-data; name="file"; filename="pump.bin"\r\n\r\n'
    return head.encode(), b"\r\n--x--\r\n"


def begin(port, token, length):
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    line.putrequest("POST", "/api/v1/releases")
    line.putheader("Authorization", f"Bearer {token}")
    line.putheader("Content-Type", "multipart/form-data; boundary=x")
    line.putheader("Content-Length", str(length))
    line.endheaders()
    return line


def lying(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_long_upload_and_download_stay_small_in_memory(portal, client):
    port, pid, scratch = portal
    key, digest = signers.new_key(), hashlib.sha256()
    signers.trusted(key)
    pump = DeviceTypeFactory(slug="pump")
    token = upload_tokens.make("CI", [pump], timezone.now() + timedelta(days=1), None)[1]
    for _ in range(LENGTH // len(BLOCK)):
        digest.update(BLOCK)
    head, tail = head_and_tail(signers.cosign(key, digest.hexdigest(), "pump.bin").decode().strip())
    before = memory(pid, "VmRSS")
    stored = Path(settings.FIRMWARE_DIRECTORY)
    known = set(lying(stored))

    line = begin(port, token, len(head) + LENGTH + len(tail))
    line.send(head)
    for _ in range(LENGTH // len(BLOCK)):
        line.send(BLOCK)
    line.send(tail)
    answer = line.getresponse()
    told = json.loads(answer.read())
    line.close()
    assert answer.status == 201, told
    grown = memory(pid, "VmHWM") - before
    print(f"{LENGTH // MIB} MiB taken in: {grown / MIB:.0f} MiB more at the peak")
    assert (told["artifact"]["sha256"], told["artifact"]["size"]) == (digest.hexdigest(), LENGTH)
    assert grown < ALLOWED
    assert {path.name for path in set(lying(stored)) - known} == {digest.hexdigest()}
    eventually(lambda: not lying(scratch), what="nothing temporary is left")

    # The way back, for staff, who read slower than the disk.
    client.force_login(StaffFactory())
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    cookies = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={cookie}"}
    line.request("GET", f"/api/v1/releases/{told['id']}/artifact", headers=cookies)
    answer, back = line.getresponse(), hashlib.sha256()
    while block := answer.read(MIB):
        back.update(block)
    line.close()
    assert back.hexdigest() == digest.hexdigest()
    grown = memory(pid, "VmHWM") - before
    print(f"{LENGTH // MIB} MiB sent back: {grown / MIB:.0f} MiB more at the peak of both")
    assert grown < ALLOWED
    files.store().delete(files.name(digest.hexdigest()))


def test_nothing_is_left_of_an_upload_that_broke_off(portal):
    port, pid, scratch = portal
    pump = DeviceTypeFactory(slug="pump")
    token = upload_tokens.make("CI", [pump], timezone.now() + timedelta(days=1), None)[1]
    stored = Path(settings.FIRMWARE_DIRECTORY)
    known = lying(stored)
    head, tail = head_and_tail("AAAA")
    line = begin(port, token, len(head) + 20 * MIB + len(tail))
    line.send(head)
    for _ in range(8):
        line.send(BLOCK)
    eventually(lambda: scratched(pid, scratch), what="it is on the disk that TMPDIR names")
    line.close()
    eventually(lambda: not scratched(pid, scratch), what="it is gone")
    assert (lying(scratch), lying(stored), Release.objects.count()) == ([], known, 0)


def scratched(pid, folder) -> int:
    """Temporary files without a name that a process has open in a folder."""
    found = 0
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            name = str(handle.readlink())
            found += name.startswith(f"{folder}/") and name.endswith("(deleted)")
    return found
