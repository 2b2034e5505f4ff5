"""docker/mosquitto/watch.sh with a real broker: waits for its files, notices new ones, ends with the broker."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from django.conf import settings

from fleetportal.embedded import mosquitto, mosquitto_install, ports
from fleetportal.embedded.program import Program, log_path, spawn
from tests import servers
from tests.docker.files import DOCKER, STATE

PASSWORD = "only-for-this-test"
RELOADED = "Reloading config."
TOLD = "watch: files were replaced"


class Broker:
    """The image's script and configuration, its paths and ports changed, run as the servers' user."""

    def __init__(self) -> None:
        here = servers.HERE
        self.run, self.folder = here.server_folder("docker-mosquitto"), here.shared_folder("docker-broker")
        self.port, self.logs = ports.any_free(), here.own_folder("log")
        changes = {
            f"{STATE}/broker": str(self.folder),
            "/etc/fleetportal": str(self.run),
            "/run/mosquitto": str(self.run),
            "/var/lib/mosquitto": str(self.run),
            "listener 8883": f"listener {ports.any_free()} 127.0.0.1",
            "listener 1883 mosquitto-internal": f"listener {self.port} 127.0.0.1",
        }
        config = (DOCKER / "mosquitto" / "mosquitto.conf").read_text()
        for ours, others in changes.items():
            assert ours in config
            config = config.replace(ours, others)
        (self.run / "mosquitto.conf").write_text(config)
        (self.run / "password").write_text(PASSWORD + "\n")
        for name in "portal_acl", "watch.sh":
            shutil.copy(DOCKER / "mosquitto" / name, self.run)
        installed = mosquitto_install.find_or_fetch(here)
        argv = [f"{self.run}/watch.sh", self.folder, f"{self.run}/password", self.run]
        argv += [installed.binary, "-c", f"{self.run}/mosquitto.conf"]
        env = {"PATH": "/usr/bin:/bin:/usr/sbin", **installed.env}
        self.program = Program("watch", [str(word) for word in argv], env, self.run, here.account)
        log_path(self.program, self.logs).unlink(missing_ok=True)
        self.process = None

    def start(self):
        self.process = spawn(self.program, self.logs)

    def put(self, *names):
        for name in names:
            draft = self.folder / f"{name}.new"
            draft.write_bytes((settings.BROKER_DIRECTORY / name).read_bytes())
            draft.chmod(0o640)
            draft.replace(self.folder / name)

    def log(self):
        return log_path(self.program, self.logs).read_text()

    def answers(self):
        return mosquitto.answers(f"mqtt://portal:{PASSWORD}@127.0.0.1:{self.port}")

    def wait(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)


@pytest.fixture
def broker(ca):
    made = Broker()
    made.put(*mosquitto.BROKER_FILES)
    yield made
    if made.process and made.process.returncode is None:
        os.killpg(made.process.pid, signal.SIGKILL)
        made.process.wait()
    for path in [*made.folder.iterdir(), *made.run.iterdir()]:
        path.unlink()


def group_is_gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_waits_for_its_files_reloads_new_ones_and_ends_with_the_container(broker):
    (broker.folder / "acl").unlink()
    broker.start()
    broker.wait(lambda: "waiting for the portal" in broker.log())
    assert not broker.answers()

    broker.put("acl")
    broker.wait(broker.answers)
    assert TOLD not in broker.log()

    broker.put("acl")
    broker.wait(lambda: RELOADED in broker.log())
    assert broker.log().count(TOLD) == 1
    assert broker.answers()

    broker.process.send_signal(signal.SIGTERM)
    assert broker.process.wait(20) == 0
    broker.wait(lambda: group_is_gone(broker.process.pid))


def test_watcher_ends_when_the_broker_does(broker):
    broker.start()
    broker.wait(broker.answers)
    broker.process.kill()
    broker.process.wait()
    broker.wait(lambda: group_is_gone(broker.process.pid))


def test_half_a_set_of_files_is_not_told(broker):
    broker.start()
    broker.wait(broker.answers)
    (broker.folder / "server.key").unlink()
    broker.put("server.pem")
    naps = set()
    broker.wait(lambda: len(naps_of(broker.process.pid, naps)) >= 4)  # the watcher has looked three times
    assert TOLD not in broker.log()
    broker.put("server.key")
    broker.wait(lambda: RELOADED in broker.log())
    assert broker.log().count(TOLD) == 1
    assert "Error" not in broker.log()


def naps_of(group, known):
    """`known` and the `sleep` that the watcher waits for now."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, name, _, _, its_group = entry.read_text().split()[:5]
            if name == "(sleep)" and int(its_group) == group:
                known.add(pid)
    return known


def test_a_stop_while_waiting_is_heard(broker):
    (broker.folder / "crl.pem").unlink()
    broker.start()
    broker.wait(lambda: "waiting for the portal" in broker.log())
    broker.process.send_signal(signal.SIGTERM)
    assert broker.process.wait(10) == 143


def test_the_health_check_gets_in_with_the_credential_the_script_left(broker):
    if not shutil.which("mosquitto_sub"):
        pytest.skip("no mosquitto_sub here")
    broker.start()
    broker.wait(broker.answers)
    line = re.search(r"HEALTHCHECK .* CMD (\[.*\])", (DOCKER / "mosquitto" / "Dockerfile").read_text())[1]
    check = [word.strip('"') for word in shlex.split(line.strip("[]").replace(",", " "))]
    check[check.index("mosquitto-internal")] = "127.0.0.1"
    env = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(broker.run)}
    assert subprocess.run([*check, "-p", str(broker.port)], env=env, capture_output=True, check=False).returncode == 0
    env["XDG_CONFIG_HOME"] = "/nonexistent"
    assert subprocess.run([*check, "-p", str(broker.port)], env=env, capture_output=True, check=False).returncode != 0


def test_the_password_is_hashed_and_in_no_argument(broker):
    broker.start()
    broker.wait(broker.answers)
    assert (broker.run / "passwords").read_text().startswith("portal:$7$")
    assert PASSWORD not in (broker.run / "passwords").read_text()
    assert (broker.run / "mosquitto_sub").stat().st_mode & 0o077 == 0
    for name in "cmdline", "environ":
        assert PASSWORD.encode() not in Path(f"/proc/{broker.process.pid}/{name}").read_bytes()
