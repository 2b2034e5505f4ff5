"""Text of the API's description in HTML."""

import re

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()


@register.filter
def marked(text: str) -> SafeString:
    """With what stands between backticks as code."""
    return mark_safe(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))  # noqa: S308 (escaped before)


@register.filter
def breakable(path: str) -> SafeString:
    """A path that may break behind each slash."""
    return mark_safe(escape(path).replace("/", "/<wbr>"))  # noqa: S308 (escaped before)
