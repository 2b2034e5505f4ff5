"""The rules of the house that no type checker sees."""

import ast
import io
import os
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from django.core.management import call_command

from devices import contract, describe

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("devices", "firmware", "telemetry", "operations", "fleetportal", "agent")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def files(*folders: str, suffix: str = ".py") -> list[Path]:
    """Our files, generated ones left out."""
    found = [path for folder in folders for path in (ROOT / folder).rglob(f"*{suffix}")]
    return sorted(path for path in found if not {"migrations", "vendor", "__pycache__"} & set(path.parts))


def named(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def strings(path: Path) -> list[str]:
    """Text constants of a module, without its docstrings."""
    tree = ast.parse(path.read_text())
    told = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told
    ]


def test_imports_flow_one_way():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", "pyproject.toml", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_no_file_is_long_and_most_are_short():
    lengths = {path: len(path.read_text().splitlines()) for path in files(*ROOMS, "tests", "benchmarks")}
    assert {named([path])[0]: length for path, length in lengths.items() if length > 500} == {}
    assert statistics.median(lengths[path] for path in files(*ROOMS)) < 100


def test_one_file_speaks_mqtt():
    """Topics and channels are spelt in devices/contract.py; everybody else asks it."""
    channels = {name for name in contract.CHANNELS if "/" in name or "_" in name}
    assert {"telemetry/stored", "update_status", "cmd/ack", "certificate/csr"} <= channels
    topic = re.compile(r"\$share|\$aws|/\+/|" + "|".join(rf"\b{name}\b" for name in channels))
    exempt = {
        "devices/contract.py",
        "devices/describe.py",  # the page about it
        "agent/device.py",  # keyed by the contract's names
        "fleetportal/embedded/mosquitto.py",  # the portal's own ACL: everything
    }
    guilty = {
        name: found
        for path in files(*ROOMS)
        for name in named([path])
        if name not in exempt and (found := [text for text in strings(path) if topic.search(text)])
    }
    assert guilty == {}


def test_the_page_about_mqtt_is_that_of_the_contract():
    assert (ROOT / "docs/mqtt.md").read_text() == describe.page(), "python -m devices.describe > docs/mqtt.md"


def test_the_page_about_settings_is_that_of_the_settings():
    out = io.StringIO()
    call_command("describe_settings", stdout=out)
    assert (ROOT / "docs/settings.md").read_text() == out.getvalue(), "manage.py describe_settings > docs/settings.md"


def package(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower()


def direct_dependencies() -> set[str]:
    project = PROJECT["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    return {package(each) for group in groups for each in group}


def test_every_direct_dependency_has_a_reason():
    page = (ROOT / "docs/dependencies.md").read_text()
    tables = re.findall(r"^\| package \| why \|\n\|---\|---\|\n((?:\|.*\|\n)+)", page, re.MULTILINE)
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", "".join(tables), re.MULTILINE)
    told = {name.strip().lower() for names, reason in rows if reason.strip() for name in names.split(",")}
    assert direct_dependencies() - told == set()
    assert told - direct_dependencies() == set(), "told of, but no longer there"


def test_requirements_are_pinned_by_hash_and_name_no_registry():
    pinned = sorted((ROOT / "requirements").glob("*.txt"))
    assert {"base.txt", "dev.txt", "run.txt"} <= {path.name for path in pinned}
    for path in pinned:
        text = path.read_text()
        assert "://" not in text
        assert "index-url" not in text
        requirements = re.findall(r"^[A-Za-z0-9]\S*", text, re.MULTILINE)
        assert requirements and all("==" in each for each in requirements)
        assert text.count("==") <= text.count("--hash=sha256:")


def test_no_lock_file_names_a_registry():
    for name in ("package-lock.json", "uv.lock"):
        path = ROOT / name
        assert not path.exists() or '"resolved"' not in path.read_text()


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_the_page_about_roles_is_that_of_the_roles():
    out = io.StringIO()
    call_command("describe_roles", stdout=out)
    assert (ROOT / "docs/roles.md").read_text() == out.getvalue(), "manage.py describe_roles > docs/roles.md"


def test_the_deployment_check_is_clean_with_secure_settings():
    environment = os.environ | {
        "SECURE_COOKIES": "true",
        "DEBUG": "false",
        "BEHIND_PROXY": "true",
        "ALLOWED_HOSTS": "a.example",
        "MFA_REQUIRED": "staff",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", "check", "--deploy", "--fail-level", "INFO"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


DOORS = [path for path in files(*ROOMS) if path.stem in ("api", "views", "consumers")]


def unscoped(source: str) -> list[str]:
    """Uses of a manager that do not go on with visible_to()."""
    tree = ast.parse(source)
    managers = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("objects", "_default_manager")
    ]
    scoped = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "visible_to"}
    # What a value is called, reached through a reading that was scoped; and who asks.
    companys = {"Metric", "get_user_model()"}
    return [ast.unparse(node) for node in managers if node not in scoped and ast.unparse(node.value) not in companys]


@pytest.mark.parametrize("path", DOORS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_doors_ask_for_rows_through_the_tenancy_rule(path):
    assert unscoped(path.read_text()) == []


def test_a_door_that_forgets_the_tenancy_rule_is_noticed():
    assert unscoped("Device.objects.get(pk=1)") == ["Device.objects"]
    assert unscoped("Device.objects.filter(pk=1).visible_to(user)") == ["Device.objects"]
    assert unscoped("Device.objects.visible_to(user).get(pk=1)") == []
    assert len(DOORS) >= 4


def test_pages_carry_no_inline_script_style_or_handler():
    """The content security policy refuses them; devices wrote some of what pages show."""
    forbidden = re.compile(
        r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")|\sstyle=\"|\son[a-z]+=\"|javascript:|\|safe\b"
    )
    guilty = {named([path])[0]: forbidden.findall(path.read_text()) for path in files("templates", suffix=".html")}
    assert {name: found for name, found in guilty.items() if found} == {}
    assert guilty
