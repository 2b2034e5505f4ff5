"""In which room of the admin a page stands, for the crumbs above it."""

from typing import Any

from django import template

register = template.Library()


@register.inclusion_tag("admin/room_crumb.html", takes_context=True)
def room_crumb(context: Any) -> dict[str, Any]:
    """The room of the page's model, as the menu beside it shows it; none where it is called as its only list."""
    opts = context.get("opts") or context["cl"].opts
    for room in context.get("available_apps") or []:
        if any(page["model"]._meta.label == opts.label for page in room["models"]):
            same = room["name"].lower() == str(opts.verbose_name_plural).lower()
            return {} if same else {"room": room}
    return {}
