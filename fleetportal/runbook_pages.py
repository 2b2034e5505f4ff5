"""Runbooks where a finding leads to: the pages of docs/runbooks, for staff."""

import re

from django.conf import settings
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import mark_safe

from fleetportal import markdown

_NAME = re.compile(r"[A-Za-z0-9-]{1,60}\.md")


def show(request: HttpRequest, name: str) -> HttpResponse:
    """One page, by the name of its file."""
    path = settings.BASE_DIR / "docs" / "runbooks" / name
    if not _NAME.fullmatch(name) or not path.is_file():
        raise Http404
    text = path.read_text(encoding="utf-8")
    context = {
        **admin.site.each_context(request),
        "title": markdown.title(text),
        "is_index": name == "README.md",
        "body": mark_safe(markdown.render(text)),  # noqa: S308 (a file of ours, and escaped)
    }
    return TemplateResponse(request, "admin/runbook.html", context)
