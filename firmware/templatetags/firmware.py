"""What pages of all rooms show of firmware."""

from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from firmware import marks, stopping

register = template.Library()


@register.inclusion_tag("admin/firmware/stop/banner.html", takes_context=True)
def stop_banner(context: dict[str, Any]) -> dict[str, Any]:
    """The global stop, on every page of the staff while it is on."""
    user = context.get("user")
    if user is None or not user.is_staff:
        return {}
    return {"stop": stopping.in_force(), "may_lift": user.has_perm("firmware.change_stop")}


@register.simple_tag
def firmware_marks(device: Any) -> list[dict[str, Any]]:
    """When its firmware changed, for its chart."""
    return marks.of(device)


@register.simple_tag
def second(moment: datetime | None) -> SafeString | str:
    """Date and time in UTC, to the second: what follows upon what."""
    if not moment:
        return "—"
    text = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}">{}</time>', moment.isoformat(), text)


@register.simple_tag
def is_stopped() -> bool:
    """Is it on?"""
    return bool(stopping.in_force())
