"""The filter by tag: a word is typed. A list of all tags would have to look at every device."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR
from django.db.models import QuerySet
from django.http import HttpRequest


class TagFilter(admin.SimpleListFilter):
    """Devices with one tag, found by its index."""

    title = "tag"
    parameter_name = "tag"
    template = "admin/devices/device/tag_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """No words are proposed; one must be named for Django to show the filter at all."""
        return [("", "")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """One: the form, with the other filters kept."""
        rest = changelist.get_query_string(remove=[self.parameter_name, PAGE_VAR])
        yield {
            "selected": self.value() is None,
            "query_string": rest,
            "display": "All",
            "value": self.value() or "",
            "kept": parse_qsl(rest.removeprefix("?"), keep_blank_values=True),
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The whole word."""
        word = (self.value() or "").strip()
        return queryset.filter(tags__contains=[word]) if word else queryset
