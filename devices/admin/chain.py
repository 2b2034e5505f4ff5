"""The chain view of certificate pages, and the PEM to take away. Public things only: keys are never here."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from devices import chains
from devices.admin.base import FleetAdmin
from devices.badges import badge
from devices.models import Authority


@dataclass(frozen=True, slots=True)
class Link:
    """One certificate of a chain, as the page shows it."""

    role: str
    name: str
    url: str
    state: SafeString
    checked: chains.Checked
    valid: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """A whole chain, the leaf first, with one line about all of it."""

    links: list[Link]
    tone: str
    """good, warning, bad"""
    verdict: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """What hangs below an authority."""

    role: str
    name: str
    pem: str
    state: SafeString
    revoked: bool = False


def chain(authority: Authority | None, now: datetime, leaf: Leaf | None = None) -> Chain:
    """The chain from a leaf, or from the authority itself, up to its root."""
    above = _upwards(authority)
    checked = chains.check([*([leaf.pem] if leaf else []), *(row.certificate for row in above)])
    links = [
        Link(
            row.get_kind_display(),
            row.name,
            reverse("admin:devices_authority_change", args=[row.pk]),
            authority_badge(row, now),
            each,
            each.facts is not None and each.facts.is_valid(now),
        )
        for row, each in zip(above, checked[len(checked) - len(above) :], strict=True)
    ]
    if leaf:
        first = checked[0]
        valid = first.facts is not None and first.facts.is_valid(now)
        links.insert(0, Link(leaf.role, leaf.name, "", leaf.state, first, valid))
    judged = _judged(links)
    if leaf and leaf.revoked and judged.tone == "good":
        return Chain(links, "bad", "Revoked: the signatures hold, and no door lets it in.")
    return judged


def _upwards(authority: Authority | None) -> list[Authority]:
    found: list[Authority] = []
    while authority is not None and authority not in found:
        found.append(authority)
        authority = authority.issued_by
    return found


def _judged(links: list[Link]) -> Chain:
    broken = [link for link in links if link.checked.verified is False]
    if broken:
        return Chain(links, "bad", f"Broken at {broken[0].name}: {broken[0].checked.verdict}")
    late = [link for link in links if not link.valid]
    if late:
        return Chain(links, "warning", f"The signatures hold, but {late[0].name} is outside its dates.")
    if links[-1].checked.verified is None:
        return Chain(links, "warning", f"Cannot be told up to a root: {links[-1].checked.verdict}.")
    return Chain(links, "good", "Verified: every signature was checked just now, and every date holds.")


def authority_badge(row: Authority, now: datetime) -> SafeString:
    """Does it issue, does it only stand for what it issued, or has it ended?"""
    if row.not_after <= now:
        return badge("expired")
    return badge("active", "Active") if row.active else badge("retired", "Issues no more")


def pem_file(text: str, name: str) -> HttpResponse:
    """A PEM to save."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.pem"'}
    return HttpResponse(text, content_type="application/x-pem-file", headers=headers)


def viewed(page: FleetAdmin, request: HttpRequest, object_id: str) -> Any:
    """A row for a page of its own beside the form. Raises Http404 and PermissionDenied."""
    row = page.get_object(request, object_id)
    if row is None:
        raise Http404
    if not page.has_view_permission(request, row):
        raise PermissionDenied
    return row
