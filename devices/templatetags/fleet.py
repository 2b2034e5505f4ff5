"""How values and moments are written, the same on every page; static/format.js writes them so in the browser."""

import json
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices import skew

register = template.Library()
NOTHING = "—"


@register.filter
def reading(value: Any, kind: str = "number") -> str:
    """A metric's value with as many digits as help: 4.02, 231.4, 1,234; Yes and No."""
    if value is None or value == "":
        return NOTHING
    if kind == "text":
        return str(value)
    if kind == "boolean":
        return "Yes" if value else "No"
    size = abs(value)
    if kind == "integer" or size >= 1000 or value == 0:
        return f"{value:,.0f}"
    if size < 1:
        return f"{value:.3g}"
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}"


@register.filter
def pretty(value: Any) -> str:
    """JSON for people; escaped by the template like any text, as devices wrote parts of it."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def words(kind: str) -> str:
    """A kind of event for people: `Certificate first seen`."""
    return kind.replace(".", " ").replace("_", " ").capitalize()


@register.filter
def skew_words(skew_ms: int | None) -> str:
    """How wrong a clock is: `2 d 3 h behind`; `right` within a second."""
    return NOTHING if skew_ms is None else skew.words(timedelta(milliseconds=skew_ms))


@register.filter
def is_wrong(skew_ms: int | None) -> bool:
    """Is a clock so wrong that there is a finding?"""
    return skew.clock(skew_ms) is not skew.Clock.RIGHT


@register.simple_tag
def ago(moment: datetime | None) -> SafeString | str:
    """`12 seconds ago`; a script keeps it true."""
    if not moment:
        return NOTHING
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>', moment.isoformat(), _local(moment), naturaltime(moment)
    )


@register.simple_tag
def at(moment: datetime | None) -> SafeString | str:
    """Date and time in the zone that the viewer chose, or UTC; a script puts it into the browser's then."""
    if not moment:
        return NOTHING
    return format_html('<time datetime="{}" data-at>{}</time>', moment.isoformat(), _local(moment))


def _local(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M %Z}"
