"""What all our admin pages have in common: scope, evidence of every change, no unbounded count, no deletion."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property

from devices.admin.tables import csv_of
from devices.audited import Audited

COUNT_LIMIT = 10_000
_SHOWN_ROWS = 20
_REASON_LENGTH = 200


class CappedPaginator(Paginator):
    """Counts to a limit and no further: a count over millions of rows costs seconds and tells nobody anything."""

    @cached_property
    def count(self) -> int:
        """Rows, at most `COUNT_LIMIT`."""
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_LIMIT].count())


def _keys(value: Sequence[str]) -> list[str]:
    return [each for each in value if str(each).isdecimal()]


class OneSearched(AutocompleteSelect):
    """A row that is searched for. Only what can be a key is looked up: Django's own widget fails on anything else."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        """The chosen row; the field itself has refused anything else."""
        return super().optgroups(name, _keys(value), attr)


class SeveralSearched(AutocompleteSelectMultiple):
    """Rows that are searched for, as `OneSearched`."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        """The chosen rows."""
        return super().optgroups(name, _keys(value), attr)


class FleetAdmin(Audited):
    """Base of our model pages."""

    tells_acts = False  # ours ask why, and call use cases
    help_texts: ClassVar[dict[str, str]] = {}
    """Field → what to know of it, where its model says nothing."""
    csv_columns: ClassVar[Sequence[str] | None] = ()
    """Columns of the list as a file; empty: those of the list. None: there is no such file."""

    list_per_page = 50
    show_full_result_count = False
    paginator = CappedPaginator
    actions_on_bottom = False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Rows by the one tenancy rule, here as everywhere."""
        return super().get_queryset(request).visible_to(request.user)  # type: ignore[no-any-return, attr-defined]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Searched for where the page says so, and fit for garbage."""
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", OneSearched(db_field, self.admin_site))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Searched for where the page says so, and fit for garbage."""
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", SeveralSearched(db_field, self.admin_site))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """With the list as a file."""
        told: dict[str, Any] = {}
        if self.csv_columns is not None:
            query = request.GET.urlencode()
            told["csv_url"] = "list.csv" + (f"?{query}" if query else "")
        return super().changelist_view(request, {**told, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        """The list as a file."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_table"
        ours = [] if self.csv_columns is None else [path("list.csv", self.admin_site.admin_view(self.table), name=name)]
        return [*ours, *super().get_urls()]

    def table(self, request: HttpRequest) -> HttpResponseBase:
        """What the list shows, as CSV."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET"])
        try:
            return csv_of(self, request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{reverse(self._list)}?e=1")

    @property
    def _list(self) -> str:
        return f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is deleted by hand unless a page says otherwise: rows are evidence."""
        return False

    def buttons(self, request: HttpRequest, *names: str) -> list[tuple[str, str]]:
        """Of these actions those that this person may take, as buttons of a row's own page."""
        allowed = self.get_actions(request)
        found = [(name, allowed.get(name)) for name in names]
        return [(name, str(action[2])) for name, action in found if action]


def ask_reason(
    model_admin: FleetAdmin,
    request: HttpRequest,
    rows: models.QuerySet[Any],
    verb: str,
    *,
    about: Callable[[Any], str] = str,
    notes: Callable[[], list[str]] = list,
    ready: bool = True,
) -> str | TemplateResponse:
    """The reason somebody gave; until then the page that says what will happen to how many, and asks why.

    `about` tells one row, `notes` what else must be known before; both are asked only for that page. Not `ready`: the
    page is shown again, with the reason in it, as something else that it asks for is wrong.
    """
    reason = request.POST.get("reason", "").strip()
    if reason and ready:
        return reason[:_REASON_LENGTH]
    total = rows.count()
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"{verb}: {total} selected",
        "verb": verb,
        "rows": [about(row) for row in rows[:_SHOWN_ROWS]],
        "more": max(total - _SHOWN_ROWS, 0),
        "notes": notes(),
        "selected": request.POST.getlist("_selected_action"),
        "across": request.POST.get("select_across") == "1",
        "action": request.POST.get("action"),
        "back": _back(model_admin, request),
        "missing": "confirmed" in request.POST and not reason,
        "typed": reason[:_REASON_LENGTH],
        "opts": model_admin.opts,
    }
    return TemplateResponse(request, "admin/reason.html", context)


def with_reason(
    model_admin: FleetAdmin,
    request: HttpRequest,
    rows: models.QuerySet[Any],
    verb: str,
    carry_out: Callable[[Any, str], bool],
    *,
    afterwards: Callable[[], None] = lambda: None,
    **told: Any,
) -> HttpResponse | None:
    """An admin action that says what it will do to how many, asks why, and then does it row by row.

    `carry_out(row, reason)` calls the use case and tells whether anything changed; `afterwards` is called once when all
    that could be done is done; `told` goes to `ask_reason`.
    """
    answer = ask_reason(model_admin, request, rows, verb, **told)
    if not isinstance(answer, str):
        return answer
    try:
        done = sum(carry_out(row, answer) for row in rows)
    finally:
        afterwards()  # for those, too, that were done before one that failed
    left = rows.count() - done
    text = f"{verb}: {done} done" + (f", {left} were not in a state for it." if left else ".")
    messages.add_message(request, messages.SUCCESS if done else messages.WARNING, text)
    return where_from(model_admin, request)


def where_from(model_admin: FleetAdmin, request: HttpRequest) -> HttpResponse | None:
    """Back to the row's own page when the button was there; None leads to the list."""
    back = _back(model_admin, request)
    return HttpResponseRedirect(back) if back else None


def _back(model_admin: FleetAdmin, request: HttpRequest) -> str:
    chosen = request.POST.getlist("_selected_action")
    if "back" not in request.POST or len(chosen) != 1:
        return ""
    opts = model_admin.opts
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[quote(chosen[0])])


class ReadOnlyAdmin(FleetAdmin):
    """Pages of rows that only the portal writes."""

    actions: Any = None

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds these by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes these by hand."""
        return False
