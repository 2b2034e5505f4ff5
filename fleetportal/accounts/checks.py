"""What `manage.py check --deploy` says about accounts."""

from typing import Any

from django.conf import settings
from django.core import checks

from devices.people import second_factor


@checks.register(checks.Tags.security, deploy=True)
def staff_show_a_second_factor(**_: Any) -> list[checks.CheckMessage]:
    """Staff see every tenant: one lost password must not be enough."""
    if second_factor.STAFF in settings.MFA_REQUIRED:
        return []
    return [checks.Warning("Staff need no second factor: put `staff` into MFA_REQUIRED.", id="accounts.W001")]
