"""Filters into which a word is typed. A list of all tags, sites or people would be useless, and slow."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest


class TypedFilter(admin.SimpleListFilter):
    """A field above the list (templates/admin/change_list.html draws them all in one form)."""

    is_typed = True
    hint = ""
    template = "admin/nothing.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """No words are proposed; one must be named for Django to show the filter at all."""
        return [("", "")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """What is typed is the choice; to begin with, none."""
        yield {"selected": self.value() is None, "query_string": "?", "display": "All"}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows with what was typed."""
        word = (self.value() or "").strip().replace("\0", "")[:100]
        return self.found(queryset, word) if word else queryset

    def found(self, rows: QuerySet[Any], word: str) -> QuerySet[Any]:
        """Of these rows those that the word is about."""
        raise NotImplementedError


class TagFilter(TypedFilter):
    """Devices with one tag, found by its index."""

    title = "tag"
    parameter_name = "tag"
    hint = "The whole word"

    def found(self, rows: QuerySet[Any], word: str) -> QuerySet[Any]:
        """The whole word."""
        return rows.filter(tags__contains=[word])


def related(path: str, label: str, model: Any, fields: tuple[str, ...] = ("name",)) -> type[TypedFilter]:
    """A filter by some words of the name of what a row hangs on: of few rows, found first.

    `path` leads from the row to it, e.g. `device__site`.
    """

    class Related(TypedFilter):
        title = label
        parameter_name = f"{path.rsplit('__', maxsplit=1)[-1]}_name"
        hint = "Part of the name"

        def found(self, rows: QuerySet[Any], word: str) -> QuerySet[Any]:
            asked = Q()
            for field in fields:
                asked |= Q(**{f"{field}__icontains": word})
            found: QuerySet[Any] = rows.filter(**{f"{path}__in": model.objects.filter(asked).values("pk")})
            return found

    return Related
