"""What the staff's lists have above their rows."""

from typing import Any
from urllib.parse import parse_qsl

from django import template
from django.contrib.admin.views.main import PAGE_VAR

from devices.people import saved_views

register = template.Library()


@register.inclusion_tag("admin/views.html", takes_context=True)
def views_of_list(context: Any) -> dict[str, Any]:
    """Somebody's saved views of this list, and the form that saves what it shows now."""
    request = context["request"]
    now = saved_views.kept(request.GET.urlencode())
    rows = saved_views.of(request.user, request.path) if request.method == "GET" else []
    return {
        "rows": rows,
        "now": now,
        "page": request.path,
        "fresh": now and all(row.query != now for row in rows),
        "csrf_token": context.get("csrf_token"),
    }


@register.filter
def top(specs: Any) -> list[Any]:
    """The filters that are typed into."""
    return [spec for spec in specs if getattr(spec, "is_typed", False)]


@register.filter
def beside(specs: Any) -> list[Any]:
    """The filters that are chosen from."""
    return [spec for spec in specs if not getattr(spec, "is_typed", False)]


@register.filter
def kept_beside_typed(changelist: Any) -> list[tuple[str, str]]:
    """What else the address says, so that typing into a filter keeps it."""
    typed = [spec.parameter_name for spec in top(changelist.filter_specs)]
    rest = changelist.get_query_string(remove=[*typed, PAGE_VAR])
    return parse_qsl(rest.removeprefix("?"), keep_blank_values=True)
