"""What the images run, run without them: the same files, commands and environment, with real servers."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from importlib.metadata import packages_distributions
from pathlib import Path

import msgspec
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from agent.__main__ import RunFile
from fleetportal.embedded import ports, postgres, valkey
from fleetportal.embedded.program import Program, running
from tests import servers
from tests.docker.files import DOCKER, ROOT, SECRETS, SERVICES, STATE, command, copy_tree, environment, stage

PATH = {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
    return found


class Installation:
    """A place that looks like the containers' volumes and secrets, and a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.secrets, self.state = folder, folder / "secrets", folder / "state"
        shutil.copy(DOCKER / "make-secrets.sh", folder)
        subprocess.run([str(folder / "make-secrets.sh")], check=True)
        database = re.sub(r"/\w+$", f"/docker_{os.getpid()}", os.environ["DATABASE_URL"])
        postgres.ensure_database(database)
        (self.secrets / "database_url").write_text(database)
        (self.secrets / "redis_url").write_text(os.environ["REDIS_URL"])
        for name in "ca", "broker", "demo", "swarm":
            (self.state / name).mkdir(parents=True)

    def run(self, service: str, *more: str) -> subprocess.Popen[bytes]:
        program, *arguments = (self.here(word) for word in command(service))
        assert program == "python"
        env = {name: self.here(value) for name, value in environment(service).items()}
        return subprocess.Popen(
            [sys.executable, *arguments, *more], cwd=ROOT, env=PATH | env | {"PYTHONPATH": str(ROOT)}
        )

    def here(self, text: str) -> str:
        return text.replace(SECRETS, str(self.secrets)).replace(STATE, str(self.state))


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    made = Installation(tmp_path_factory.mktemp("docker"))
    assert made.run("prepare").wait(60) == 0
    return made


def test_secrets_are_made_once(installation):
    files = {path.name: path.read_text() for path in installation.secrets.iterdir()}
    subprocess.run([str(installation.folder / "make-secrets.sh")], check=True)
    assert {path.name: path.read_text() for path in installation.secrets.iterdir()} == files
    assert installation.secrets.stat().st_mode & 0o777 == 0o700
    assert len({files[name] for name in files if not name.endswith(("_url", "_auth"))}) == 8
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= set(files)


def test_prepare_may_be_repeated(installation):
    def keys():
        return {path.name: path.read_bytes() for path in (installation.state / "ca").iterdir()}

    made = keys()
    assert len(made) == 4, "three authorities and the portal's permit key"
    assert "permit.key" in made
    root = (installation.state / "broker" / "ca.pem").read_text()
    assert installation.run("prepare").wait(60) == 0
    assert keys() == made
    assert (installation.state / "broker" / "ca.pem").read_text() == root


def test_the_swarm_gets_its_claims_and_no_password(installation):
    assert installation.run("prepare-swarm").wait(60) == 0
    folder = installation.state / "swarm"
    text = (folder / "run.json").read_text()
    run = msgspec.json.decode(text, type=RunFile)
    assert (run.mqtt_host, run.mqtt_port, run.device_https_url) == ("mosquitto", 8883, "https://device-https:8443")
    assert Path(run.ca_file).read_text() == (installation.state / "broker" / "ca.pem").read_text()
    assert run.claims
    assert (installation.secrets / "demo_password").read_text().strip() not in text
    assert installation.run("prepare-swarm").wait(60) == 0
    assert json.loads((folder / "run.json").read_text()) == json.loads(text)


def test_the_device_door_answers_and_starts_anew_when_its_certificate_is_replaced(installation):
    port = ports.any_free()
    door = installation.run("device-https", f"--port={port}")
    try:
        check = [installation.here(word) for word in SERVICES["device-https"]["healthcheck"]["test"]]
        check = [sys.executable, *check[2:-2], f"https://localhost:{port}/livez", check[-1]]

        def answers(command):
            return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0

        until(lambda: answers(check))
        assert not answers(check[:-1]), "nobody trusts it who does not know the CA"
        before = ssl.get_server_certificate(("localhost", port))
        (installation.state / "broker" / "server.pem").unlink()
        assert installation.run("prepare").wait(60) == 0
        until(lambda: ssl.get_server_certificate(("localhost", port)) != before)
        assert door.poll() is None
        assert answers(check)
    finally:
        door.kill()
        door.wait()


def test_the_portals_image_holds_all_that_the_portal_imports(tmp_path):
    tree = copy_tree("portal", tmp_path)
    collect = next(rest for word, rest in stage("portal") if word == "RUN" and "collectstatic" in rest).split()
    given = dict(word.split("=", 1) for word in collect if re.match(r"[A-Z_]+=", word))
    arguments = collect[len(given) :]
    assert arguments[:2] == ["python", "manage.py"]
    env = PATH | given
    subprocess.run([sys.executable, *arguments[1:]], cwd=tree, env=env, check=True, capture_output=True)
    assert (tree / "staticfiles" / "live.js").is_file()
    imports = "import fleetportal.asgi, fleetportal.celery, fleetportal.mqtt; print(fleetportal.__path__[0])"
    done = subprocess.run(
        [sys.executable, "-c", imports], cwd=tree, env=env, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(tree / "fleetportal")


def test_the_agents_image_holds_all_that_the_agent_imports(tmp_path):
    tree = copy_tree("agent", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", "import agent.__main__, devices.contract as c; print(c.__file__)"],
        cwd=tree,
        env=PATH,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(tree / "devices" / "contract.py")
    code = "".join(path.read_text() for path in tree.rglob("*.py"))
    imported = (
        set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE))
        - sys.stdlib_module_names
        - {"agent", "devices", "firmware"}
    )
    installed = packages_distributions()
    used = {installed[name][0].lower().replace("_", "-") for name in imported}
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements/agent.txt").read_text(), re.MULTILINE))
    assert {"aiomqtt", "httpx", "msgspec", "cryptography"} <= used <= pinned
    done = subprocess.run([sys.executable, "-m", "agent", *command("swarm"), "--help"], cwd=tree, env=PATH, check=False)
    assert done.returncode == 0


def test_the_agents_packages_have_the_versions_of_the_tests():
    pin = re.compile(r"^([\w.-]+==\S+)", re.MULTILINE)
    agent = set(pin.findall((ROOT / "requirements/agent.txt").read_text()))
    assert agent <= set(pin.findall((ROOT / "requirements/dev.txt").read_text()))


def test_valkey_reads_its_password_and_the_health_check_gets_in(tmp_path):
    here = servers.HERE
    folder, port = here.server_folder("docker-valkey"), ports.any_free()
    shutil.copy(DOCKER / "make-secrets.sh", tmp_path)
    subprocess.run([str(tmp_path / "make-secrets.sh")], check=True)
    secret = (tmp_path / "secrets" / "valkey_auth").read_text()
    (folder / "auth").write_text(secret)
    text = (DOCKER / "valkey.conf").read_text()
    for word, other in (
        ("dir /data", f"dir {folder}"),
        (f"{SECRETS}/valkey_auth", f"{folder}/auth"),
        ("6379", str(port)),
    ):
        assert word in text
        text = text.replace(word, other)
    (folder / "valkey.conf").write_text(text)
    embedded = valkey.server(here, port, "unused")
    url = f"redis://:{secret.split()[1]}@127.0.0.1:{port}/0"
    binary = embedded.argv[0]
    program = Program(
        "valkey-docker",
        [binary, str(folder / "valkey.conf")],
        {},
        folder,
        here.account,
        ready=lambda: valkey.answers(url),
    )
    with running(program, here.own_folder("log")):
        with pytest.raises(AuthenticationError), Redis(port=port) as stranger:
            stranger.ping()
        pipe = (
            SERVICES["valkey"]["healthcheck"]["test"][1]
            .replace("$$", "$")
            .replace(f"{SECRETS}/valkey_auth", f"{folder}/auth")
        )
        stages = pipe.split(" | ")
        assert stages[1:] == ["valkey-cli", "grep -q PONG"]
        lines = subprocess.run(["sh", "-c", stages[0]], check=True, capture_output=True).stdout
        # valkey-cli, which no wheel brings, sends each line as a command; so do we.
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(lines.replace(b"\n", b"\r\n"))
            assert line.makefile("rb").read(len(b"+OK\r\n+PONG\r\n")) == b"+OK\r\n+PONG\r\n"
