"""The files in docker/, read as data, and put into places where they run without containers."""

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DJANGO = sorted(name for name, service in SERVICES.items() if service["image"] == "fleetportal")
STATE, SECRETS = "/var/lib/fleetportal", "/run/secrets"


def instructions(path: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions: `[("FROM", "python:…"), …]`, comments and continuations resolved."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of one stage of docker/Dockerfile, with those of the stages it stands on."""
    found: list[tuple[str, str]] = []
    inside = False
    for word, rest in instructions(DOCKER / "Dockerfile"):
        if word == "FROM":
            parent, _, own = rest.partition(" AS ")
            inside = own == name
            if inside and "/" not in parent and ":" not in parent:
                found = stage(parent)
        if inside:
            found.append((word, rest))
    return found


def copy_tree(name: str, target: Path) -> Path:
    """What the COPY lines of a stage put into /app."""
    for word, rest in stage(name):
        if word != "COPY" or rest.startswith("--from"):
            continue
        *sources, destination = rest.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target / destination, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (target / destination).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, target / destination)
    return target


def command(service: str) -> list[str]:
    """What a service runs: its own command, or its image's."""
    if "command" in SERVICES[service]:
        return [interpolate(str(word)) for word in SERVICES[service]["command"]]
    return json.loads(next(rest for word, rest in reversed(stage("portal")) if word == "CMD"))


def interpolate(text: str) -> str:
    """With every `${NAME:-default}` at its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def environment(service: str) -> dict[str, str]:
    return {name: interpolate(value) for name, value in SERVICES[service].get("environment", {}).items()}


def volumes(service: str) -> dict[str, str]:
    """Volume → "rw" or "ro"."""
    mounts = [mount.split(":") for mount in SERVICES[service].get("volumes", [])]
    return {parts[0]: parts[2] if len(parts) > 2 else "rw" for parts in mounts}


def networks(service: str) -> set[str]:
    return set(SERVICES[service]["networks"])


def required_settings() -> set[str]:
    """Settings that are read without a default."""
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / "fleetportal/settings.py").read_text()))
        if isinstance(node, ast.Call)
    ]
    return {
        node.args[0].value
        for node in calls
        if isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "env"
        and len(node.args) == 2
        and isinstance(node.args[0], ast.Constant)
    }
