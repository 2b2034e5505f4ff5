"""The installation's secrets: random, made once, kept in one file of mode 600."""

import json
import secrets
from pathlib import Path

from fleetportal.embedded.private_files import write_private

NAMES = (
    "secret_key",
    "ca_key_passphrase",
    "database_password",
    "redis_password",
    "mqtt_password",
    "mqtt_ingest_group",
)
DEMO_PASSWORD = "demo_password"  # noqa: S105 (a name)


def load(path: Path) -> dict[str, str]:
    """All secrets; those that `path` does not hold yet are made up and added. Raises ValueError when it is damaged."""
    try:
        known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    made = {name: secrets.token_urlsafe(32) for name in NAMES}
    made[DEMO_PASSWORD] = secrets.token_urlsafe(12)  # typed by people
    together = {**made, **known}
    if together != known:
        write_private(path, json.dumps(together, indent=2) + "\n")
    return together
