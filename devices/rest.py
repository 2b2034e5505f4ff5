"""What API views of all rooms have in common: strict requests, where a mistake is, and pages by cursor."""

from typing import Any

from django.db import models
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices import problems


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: as everywhere, and with the way to the mistake."""
    answer = problems.handle(error, context)
    if answer is not None and isinstance(error, ValidationError):
        path, text = mistake(error.detail)
        answer.data |= {"detail": f"{path}: {text}", "path": path}
    return answer


def mistake(detail: Any, path: str = "$") -> tuple[str, str]:
    """The first mistake in what DRF says of a document: a way to it (JSONPath) and what it is."""
    if isinstance(detail, dict) and detail:
        key, inner = next(iter(detail.items()))
        if key == "non_field_errors":
            return mistake(inner, path)
        return mistake(inner, f"{path}[{key}]" if str(key).isdigit() else f"{path}.{key}")
    if isinstance(detail, list) and detail:
        if all(isinstance(each, ErrorDetail) for each in detail):
            return path, str(detail[0])
        number = next(number for number, each in enumerate(detail) if each)
        return mistake(detail[number], f"{path}[{number}]")
    return path, str(detail)


class Strict(serializers.Serializer[Any]):
    """Refuses what it does not know: a misspelt limit must not become the usual one."""

    def to_internal_value(self, data: Any) -> Any:
        """As DRF, after a look at the names."""
        if isinstance(data, dict):
            unknown = [str(name) for name in data if name not in self.fields]
            if unknown:
                raise ValidationError({unknown[0][:100]: "There is no such field."})
        return super().to_internal_value(data)


class Text(serializers.CharField):
    """Text, and nothing that could be written as text: DRF takes numbers, too."""

    def to_internal_value(self, data: Any) -> str:
        """As it is."""
        if not isinstance(data, str):
            self.fail("invalid")
        told: str = super().to_internal_value(data)
        return told


class Pages(CursorPagination):
    """Pages of a list that grows at one end: the next one is asked for by what `next` says."""

    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200


def page(request: Request, rows: models.QuerySet[Any], ordering: str, view: APIView) -> tuple[list[Any], "Pages"]:
    """One page of rows, and what makes an answer of it."""
    pages = Pages()
    pages.ordering = (ordering,)
    return list(pages.paginate_queryset(rows, request, view) or []), pages
