"""How somebody wants to see the portal: their time zone and their theme."""

from typing import Any

from devices.models import Preference


def of(user: Any) -> Preference:
    """Theirs, or what is usual; one query."""
    return Preference.objects.visible_to(user).first() or Preference(user_id=user.pk)


def save(user: Any, timezone: str, theme: str) -> Preference:
    """Keep it. The door has checked the words."""
    row, _made = Preference.objects.update_or_create(user_id=user.pk, defaults={"timezone": timezone, "theme": theme})
    return row
