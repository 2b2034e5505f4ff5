"""Scopes: what a program may do for a person, and what each role of a tenant may do at all. Pure."""

from collections.abc import Iterable
from typing import Final

DEVICES_READ: Final = "devices:read"
DEVICES_WRITE: Final = "devices:write"
READINGS_READ: Final = "readings:read"
FIRMWARE_READ: Final = "firmware:read"
FIRMWARE_WRITE: Final = "firmware:write"
TEAM_MANAGE: Final = "team:manage"

SCOPES: Final = {
    DEVICES_READ: "See devices, where they are, how they are, and their certificates",
    DEVICES_WRITE: "Add devices; name, tag and place them",
    READINGS_READ: "See readings, charts and exports",
    FIRMWARE_READ: "See firmware, updates and campaigns",
    FIRMWARE_WRITE: "Publish releases and steer campaigns (staff only)",
    TEAM_MANAGE: "Invite people, change their roles, see them go",
}
"""Scope → what a person is told that it lets a program do."""

_LOOK = frozenset({DEVICES_READ, READINGS_READ, FIRMWARE_READ})
ROLE_SCOPES: Final = {
    "viewer": _LOOK,
    "operator": _LOOK | {DEVICES_WRITE},
    "owner": _LOOK | {DEVICES_WRITE, TEAM_MANAGE},
}
"""Role of a membership → what it may do in its tenant. Staff are judged by their permissions instead."""


def known(scopes: Iterable[str]) -> frozenset[str]:
    """Those of them that there are."""
    return frozenset(scopes) & SCOPES.keys()


def allows(role: str, scope: str) -> bool:
    """Does this role of a tenant include it? What is not known is not included."""
    return scope in ROLE_SCOPES.get(role, frozenset())
