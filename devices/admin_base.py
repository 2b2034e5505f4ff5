"""What all our admin pages have in common: scope, evidence of every change, no unbounded count, no deletion."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import cached_property

from devices import evidence
from devices.models import Device, Tenant

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


class FleetAdmin(admin.ModelAdmin):
    """Base of our model pages."""

    list_per_page = 50
    show_full_result_count = False
    paginator = CappedPaginator
    actions_on_bottom = False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Rows by the one tenancy rule, here as everywhere."""
        return super().get_queryset(request).visible_to(request.user)  # type: ignore[no-any-return, attr-defined]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the name of what is listed."""
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is deleted by hand unless a page says otherwise: rows are evidence."""
        return False

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Django's log, and ours."""
        self._record("added", request, obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Django's log, and ours."""
        self._record("changed", request, obj, message)
        return super().log_change(request, obj, message)

    def _record(self, verb: str, request: HttpRequest, obj: Any, message: Any) -> None:
        device = obj if isinstance(obj, Device) else getattr(obj, "device", None)
        tenant = obj if isinstance(obj, Tenant) else getattr(obj, "tenant", None)
        evidence.record(
            f"{obj._meta.model_name}.{verb}",
            device=device,
            tenant=tenant,
            user=request.user,
            detail={"id": str(obj.pk), "name": str(obj)[:200], "changes": message},
        )


def with_reason(
    model_admin: FleetAdmin,
    request: HttpRequest,
    rows: models.QuerySet[Any],
    verb: str,
    carry_out: Callable[[Any, str], bool],
) -> HttpResponse | None:
    """An admin action that says what it will do to how many, asks why, and then does it row by row.

    `carry_out(row, reason)` calls the use case and tells whether anything changed.
    """
    reason = request.POST.get("reason", "").strip()
    if not reason:
        context = {
            **model_admin.admin_site.each_context(request),
            "title": f"{verb}: {rows.count()} selected",
            "verb": verb,
            "rows": rows[:_SHOWN_ROWS],
            "more": max(rows.count() - _SHOWN_ROWS, 0),
            "selected": request.POST.getlist("_selected_action"),
            "action": request.POST.get("action"),
            "missing": "confirmed" in request.POST,
            "opts": model_admin.opts,
        }
        return TemplateResponse(request, "admin/reason.html", context)
    done = sum(carry_out(row, reason[:_REASON_LENGTH]) for row in rows)
    left = rows.count() - done
    messages.success(request, f"{verb}: {done} done" + (f", {left} were not in a state for it." if left else "."))
    return None


class ReadOnlyAdmin(FleetAdmin):
    """Pages of rows that only the portal writes."""

    actions: Any = None

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds these by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes these by hand."""
        return False
