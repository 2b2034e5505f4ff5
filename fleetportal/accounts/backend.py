"""Who a name and a password belong to, without telling by the time it takes whether there is such a name."""

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.views.decorators.debug import sensitive_variables


class Backend(AuthenticationBackend):
    """django-allauth's, which tries what was typed as an address and as a name; one for each attempt."""

    def __init__(self) -> None:
        self._judged: dict[int, Any] = {}

    @sensitive_variables("password")
    def _check_password(self, user: Any, password: str) -> Any:
        """Once a person: hashing twice for those who are there takes twice as long as for those who are not."""
        if not user:
            return None
        if user.pk not in self._judged:
            self._judged[user.pk] = super()._check_password(user, password)
        return self._judged[user.pk]
