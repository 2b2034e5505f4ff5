"""Why an update ended, in templates."""

from django import template

from firmware import reasons
from firmware.admin.updates import state_label

register = template.Library()


@register.filter
def why_ended(code: str) -> str:
    """`Speaks HTTPS only` for `mqtt_missing`."""
    return reasons.words(code)


@register.filter
def state_words(state: str) -> str:
    """As badges say it."""
    return state_label(state)
