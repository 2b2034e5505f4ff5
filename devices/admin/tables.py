"""Lists as CSV files: what the list shows, filtered as it is, sent while it is read."""

import csv
import html
import io
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.admin.utils import label_for_field, lookup_field
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.html import strip_tags

from devices import evidence

LIMIT = 100_000
"""Most rows of a file; the last line says so where there were more."""
_CHUNK = 1_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_BREAK = re.compile(r"<br\s*/?>")


def safe(value: object) -> str:
    """As text that no spreadsheet takes for a formula: devices wrote parts of it."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def text_of(lines: list[list[str]]) -> str:
    """Lines of a CSV file."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows(lines)
    return file.getvalue()


def csv_of(page: Any, request: HttpRequest) -> StreamingHttpResponse:
    """The file of a list. Raises PermissionDenied, and IncorrectLookupParameters for filters that are none."""
    if not page.has_view_permission(request):
        raise PermissionDenied
    changelist = page.get_changelist_instance(request)
    names = [name for name in (page.csv_columns or changelist.list_display) if name != "action_checkbox"]
    rows = changelist.queryset.order_by("pk")
    evidence.record(
        f"{page.opts.model_name}.list_downloaded", user=request.user, detail={"filters": request.GET.urlencode()[:500]}
    )
    told = _Told(page, rows, names)
    # An iterator of the other kind would be read to its end before the first byte is sent.
    lines = told.slowly() if isinstance(request, ASGIRequest) else told.at_once()
    headers = {
        "Content-Disposition": f'attachment; filename="{page.opts.model_name}s.csv"',
        "Cache-Control": "no-store",
    }
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


class _Told:
    """The lines of a file, chunk by chunk, in the order of the keys."""

    def __init__(self, page: Any, rows: QuerySet[Any], names: list[str]) -> None:
        self._page, self._rows, self._names = page, rows, names
        self._after: Any = None
        self._sent = 0

    def at_once(self) -> Iterator[str]:
        text = self._head()
        while text:
            yield text
            text = self._chunk()

    async def slowly(self) -> AsyncIterator[str]:
        text = self._head()
        while text:
            yield text
            text = await sync_to_async(self._chunk)()

    def _head(self) -> str:
        labels = [label_for_field(name, self._page.model, self._page) for name in self._names]
        return text_of([[safe(str(label).capitalize()) for label in labels]])

    def _chunk(self) -> str:
        if self._sent > LIMIT:
            return ""
        rows = self._rows if self._after is None else self._rows.filter(pk__gt=self._after)
        found = list(rows[: min(_CHUNK, LIMIT - self._sent + 1)])
        if not found:
            self._sent = LIMIT + 1
            return ""
        self._after = found[-1].pk
        self._sent += len(found)
        lines = [self._line(row) for row in found]
        if self._sent > LIMIT:
            lines[-1] = [f"Cut after {LIMIT:,} rows: narrow the filters."]
        return text_of(lines)

    def _line(self, row: Any) -> list[str]:
        return [safe(self._cell(row, name)) for name in self._names]

    def _cell(self, row: Any, name: str) -> str:
        try:
            _field, _attribute, value = lookup_field(name, row, self._page)
        except ObjectDoesNotExist:
            return ""
        if value is None or value == "—":
            return ""
        if isinstance(value, datetime):
            return value.isoformat(timespec="seconds")
        if isinstance(value, list | tuple):
            return ", ".join(str(each) for each in value)
        if hasattr(value, "__html__"):
            return html.unescape(strip_tags(_BREAK.sub(" · ", str(value)))).strip()
        return str(value)
