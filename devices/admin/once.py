"""The page that shows what nobody can see again: the answer to a form, and nothing of it is stored anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest
from django.template.response import TemplateResponse

from devices.admin.base import FleetAdmin


@dataclass(frozen=True, slots=True)
class Secret:
    """One of them, as a block of the page."""

    label: str
    text: str = field(repr=False)  # a report about an error tells no secret either
    filename: str


def shown_once(
    page: FleetAdmin, request: HttpRequest, secrets: Sequence[Secret], go_on: str, template: str, **told: Any
) -> TemplateResponse:
    """The page with them: no redirect, no message, no session. It leads to `go_on`, and so does a reload."""
    context = {
        **page.admin_site.each_context(request),
        "title": "Take the secret with you" if len(secrets) == 1 else "Take the secrets with you",
        "opts": page.opts,
        "secrets": secrets,
        "page_url": go_on,
        **told,
    }
    return TemplateResponse(request, template, context, headers={"Cache-Control": "no-store"})
