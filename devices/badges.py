"""How states look: one badge for each, the same in every list and page."""

from django.utils.html import format_html
from django.utils.safestring import SafeString


def badge(state: str, label: str = "") -> SafeString:
    """A coloured word; the colours are in static/badges.css, by state."""
    return format_html('<span class="badge badge-{}">{}</span>', state, label or state.capitalize())
