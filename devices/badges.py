"""How states look: one badge for each, the same in every list and page."""

from datetime import UTC, datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString


def badge(state: str, label: str = "") -> SafeString:
    """A coloured word; the colours are in static/badges.css, by state."""
    return format_html('<span class="badge badge-{}">{}</span>', state, label or state.capitalize())


def short(hexadecimal: str, length: int = 12) -> SafeString:
    """The first characters of a serial number or fingerprint, all of it where one points at it."""
    if len(hexadecimal) <= length:
        return format_html("<code>{}</code>", hexadecimal)
    return format_html('<code title="{}">{}…</code>', hexadecimal, hexadecimal[:length])


def below(first: object, second: object) -> SafeString:
    """Two lines of one cell, the second one quieter."""
    return format_html('{}<br><span class="quiet">{}</span>', first, second)


def when(moment: datetime | None) -> SafeString | str:
    """A moment in a narrow column: it may break between date and time, and nowhere else."""
    if moment is None:
        return "—"
    utc = moment.astimezone(UTC)
    text = '<time datetime="{}" class="when"><span>{}</span> <span>{}</span></time>'
    return format_html(text, utc.isoformat(), f"{utc:%Y-%m-%d}", f"{utc:%H:%M}")
