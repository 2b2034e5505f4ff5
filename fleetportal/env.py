"""The environment, read once and typed: every setting is declared here by reading it, and `docs/settings.md` lists it.

A value comes from the variable NAME, or from the file named by NAME_FILE (a mounted secret). `manage.py` beside a
running demo finds the demo's values in `var/embedded.env`, unless the variable is set.
"""

import ipaddress
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as docs/settings.md tells of it."""

    name: str
    kind: str
    default: Any
    """`environ.Env.NOTSET` where the setting is required."""
    help: str
    range: tuple[int, int] | None = None
    """Least and most of a number."""


NAMES: dict[str, Setting] = {}
"""Every setting read so far, by name."""

_SECRET_LENGTH = 22
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_LONGEST = timedelta(days=36_500)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_environ = environ.Env()


def load_embedded() -> None:
    """Take the values of the one-command run on this checkout, where it has written them."""
    path = Path(os.environ.get("ENV_FILE", BASE_DIR / "var" / "embedded.env"))
    if path.is_file() and os.access(path, os.R_OK):
        environ.Env.read_env(str(path))


def _read(name: str, cast: Any, default: Any, help_text: str, bounds: tuple[int, int] | None = None) -> Any:
    NAMES[name] = Setting(name, cast.__name__, default, help_text, bounds)
    file = os.environ.get(f"{name}_FILE")
    if file and name not in os.environ:
        try:
            os.environ[name] = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE={file}: {error.strerror}") from error
    try:
        return _environ.get_value(name, cast=cast, default=default)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is not a valid {cast.__name__}") from error


def text(name: str, help_text: str, default: Any = environ.Env.NOTSET) -> str:
    """A string. Without a default the setting is required: `ImproperlyConfigured` names it when missing."""
    return str(_read(name, str, default, help_text))


def secret(name: str, help_text: str) -> str:
    """A string that must not be guessed: required, at least 128 bits as Base64 writes them."""
    value = text(name, help_text)
    if len(value) < _SECRET_LENGTH:
        raise ImproperlyConfigured(f"{name} is too short to be a secret: {_SECRET_LENGTH} characters or more")
    return value


def number(name: str, help_text: str, default: int, *, least: int, most: int) -> int:
    """A whole number from `least` to `most`: what makes no sense stops the process now, not a batch at night."""
    value = int(_read(name, int, default, help_text, (least, most)))
    if not least <= value <= most:
        raise ImproperlyConfigured(f"{name}={value}: write a number from {least} to {most}")
    return value


def flag(name: str, help_text: str, default: bool) -> bool:
    """True or false."""
    return bool(_read(name, bool, default, help_text))


def duration(name: str, help_text: str, default: str) -> timedelta:
    """A length of time: a whole number and a unit (s, m, h, d), such as `90s` or `365d`; above zero, at most 36500d."""
    value = text(name, f"{help_text} A number with s, m, h or d.", default)
    found = _DURATION.fullmatch(value.strip())
    if found is None or int(found[1]) == 0:
        raise ImproperlyConfigured(f"{name}={value}: write a length of time such as 90s, 10m, 12h or 365d")
    length = timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    if length > _LONGEST:
        raise ImproperlyConfigured(f"{name}={value}: write a length of time from 1s to {_LONGEST.days}d")
    return length


def words(name: str, help_text: str, default: list[str]) -> list[str]:
    """A comma-separated list."""
    return list(_read(name, list, default, help_text))


def networks(name: str, help_text: str, default: list[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """A comma-separated list of addresses and networks, such as `10.0.0.7,fd00::/8`."""
    try:
        return [ipaddress.ip_network(word.strip()) for word in words(name, help_text, default)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


def path(name: str, help_text: str, default: Path) -> Path:
    """A folder or file."""
    return Path(_read(name, str, str(default), help_text))


def database(name: str, help_text: str) -> dict[str, Any]:
    """A Django database from `postgres://user:password@host:port/name`. Refuses anything but PostgreSQL."""
    url = text(name, help_text)
    config: dict[str, Any] = dict(environ.Env.db_url_config(url))
    if not str(config.get("ENGINE", "")).endswith("postgresql"):
        raise ImproperlyConfigured(f"{name} must be a postgres:// URL")
    return config


def mail(name: str, help_text: str, default: str) -> dict[str, Any]:
    """Django's settings of a mail server, from one URL; `consolemail://` prints it."""
    config = environ.Env.email_url_config(text(name, help_text, default))
    folder = config.pop("EMAIL_FILE_PATH")
    config["EMAIL_FILE_PATH"] = f"/{folder.lstrip('/')}"
    return {key: value for key, value in config.items() if key.startswith("EMAIL_") and value is not None}
