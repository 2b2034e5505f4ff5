"""What an audit is, and which there are: each room's AppConfig adds its own, operations/audits.py runs them.

Pure. An audit owns its kinds of finding: what it no longer sees is resolved, so nothing else may raise them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

INFO, WARNING, CRITICAL = "info", "warning", "critical"
"""Severities, as in `Finding.Severity`."""
SEVERITIES = (INFO, WARNING, CRITICAL)


@dataclass(frozen=True, slots=True)
class Found:
    """Something that is true now and should not be: a finding to be."""

    kind: str
    detail: str
    severity: str = WARNING
    device_pk: int | None = None
    subject: str = ""
    """What it is about, where that is not a device, or not the device alone."""
    count: int = 1
    """How often it was seen."""


Look = Callable[[datetime], Iterable[Found] | None]
"""From now to all that is found, worst first where there may be many. None: it could not be seen, so change nothing."""


@dataclass(frozen=True, slots=True)
class Audit:
    """One question asked again and again."""

    name: str
    kinds: tuple[str, ...]
    look: Look
    often: bool = False
    """Cheap and urgent: asked every minute instead of every hour."""


_audits: dict[str, Audit] = {}


def add_audit(audit: Audit) -> None:
    """Register an audit; called once at start by an AppConfig. Raises ValueError when its name or a kind is taken."""
    taken = {kind for each in _audits.values() for kind in each.kinds}
    if audit.name in _audits or taken & set(audit.kinds):
        raise ValueError(f"There is an audit {audit.name!r} already, or one that owns a kind of its.")
    _audits[audit.name] = audit


def audits() -> list[Audit]:
    """All audits, in the order of the rooms."""
    return list(_audits.values())
