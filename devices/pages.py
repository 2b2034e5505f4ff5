"""Pages of a list: the next one begins behind the last row of this one, wherever that is by then."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import FieldError
from django.core.exceptions import ValidationError as Unfit
from django.db import models
from django.db.models import BooleanField, F, Func, Value
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

USUAL, MOST = 50, 200
"""Rows of a page, where the caller does not say; and at most."""
_LONGEST = 2000
"""Characters of a cursor: a name of 200 that JSON must escape one by one has 1733."""


class Pages:
    """Finds a page of rows, and makes an answer of it.

    A place in the list is the values of its order (all up, or all down, and unique together): a comparison of rows,
    which an index answers however deep it is. `?limit=`, `?cursor=`; mistakes in them are ValidationErrors.
    """

    def __init__(self, request: Request, ordering: Sequence[str], most: int = MOST) -> None:
        self.request = request
        self.names = [name.lstrip("-") for name in ordering]
        self.down = ordering[0].startswith("-")
        if any(name.startswith("-") != self.down for name in ordering):
            raise FieldError("a page's order goes one way")
        self.limit = _limit(request, most)
        self.next: list[Any] | None = None
        self.previous: list[Any] | None = None

    def find(self, rows: models.QuerySet[Any]) -> list[Any]:
        """The rows of the page."""
        fields = [rows.model._meta.get_field(name) for name in self.names]
        back, place = self._place(fields)
        down = self.down != back
        if place is not None:
            # The first value alone, too: by it partitions and parts of an index are left out.
            rows = rows.filter(**{f"{self.names[0]}__{'lte' if down else 'gte'}": place[0]})
            rows = rows.filter(_beyond(self.names, fields, place, "<" if down else ">"))
        found = list(rows.order_by(*[f"-{name}" if down else name for name in self.names])[: self.limit + 1])
        more, found = len(found) > self.limit, found[: self.limit]
        if back:
            found.reverse()
        if found:
            self.next = self._of(found[-1]) if more or back else None
            self.previous = self._of(found[0]) if (more if back else place is not None) else None
        return found

    def get_paginated_response(self, shown: list[Any]) -> Response:
        """The document: `next` and `previous` are addresses, or null."""
        links = {"next": self._link(self.next, back=False), "previous": self._link(self.previous, back=True)}
        return Response(links | {"results": shown})

    def _of(self, row: Any) -> list[Any]:
        return [row._meta.get_field(name).value_to_string(row) for name in self.names]

    def _link(self, place: list[Any] | None, back: bool) -> str | None:
        if place is None:
            return None
        cursor = urlsafe_b64encode(json.dumps([int(back), *place], ensure_ascii=False).encode()).rstrip(b"=").decode()
        return replace_query_param(remove_query_param(self.request.build_absolute_uri(), "cursor"), "cursor", cursor)

    def _place(self, fields: Sequence[Any]) -> tuple[bool, list[Any] | None]:
        """Does it go back, and from where? None: from the list's end."""
        cursor = self.request.query_params.get("cursor")
        if not cursor:
            return False, None
        try:
            if len(cursor) > _LONGEST:
                raise ValueError
            back, *told = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            if back not in (0, 1) or not all(isinstance(each, str) and "\0" not in each for each in told):
                raise ValueError
            place = [field.to_python(each) for field, each in zip(fields, told, strict=True)]
            for field, value in zip(fields, place, strict=True):
                field.run_validators(value) if isinstance(value, int) else str(value).encode()
        except (ValueError, TypeError, RecursionError, Unfit) as error:
            text = "This is no place in the list: take the address that `next` or `previous` has."
            raise ValidationError({"cursor": [text]}) from error
        return bool(back), place


def _limit(request: Request, most: int) -> int:
    told = request.query_params.get("limit")
    if told is None:
        return USUAL
    if not (told.isascii() and told.isdecimal() and len(told) < 10 and 1 <= int(told) <= most):
        raise ValidationError({"limit": [f"A whole number from 1 to {most}."]})
    return int(told)


def _beyond(names: Sequence[str], fields: Sequence[Any], place: Sequence[Any], sign: str) -> Func:
    """Behind (or before) this place: SQL compares rows of values as the index does."""
    ours = Func(*[F(name) for name in names], function="ROW")
    theirs = Func(
        *[Value(value, output_field=field) for field, value in zip(fields, place, strict=True)], function="ROW"
    )
    return Func(ours, theirs, template="(%(expressions)s)", arg_joiner=f" {sign} ", output_field=BooleanField())
