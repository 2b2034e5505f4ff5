"""The verb at the API's door: which scope a request asks of a program. Roles are judged by use cases, per tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from devices.people import access

if TYPE_CHECKING:
    from rest_framework.views import APIView  # DRF reads this module, named in its settings, while it reads its views


class Scoped(BasePermission):
    """Somebody who signed in; and of a program, the scope that the view names for this method.

    `scopes` of a view: method → scope, e.g. `{"GET": "devices:read"}`; HEAD and OPTIONS are as GET. A view that names
    none is closed to programs.
    """

    message = "This credential does not include what this asks for."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Fails closed."""
        if not (request.user and request.user.is_authenticated and request.user.is_active):
            return False
        if request.auth is None or request.method not in view.allowed_methods:
            return True  # what the view does not do is answered 405, whatever one may
        scope = scope_of(view, request.method or "")
        return scope is not None and access.brings(request.auth, scope)


def scope_of(view: object, method: str) -> str | None:
    """The scope that a view asks for, or None."""
    named: dict[str, str] = getattr(view, "scopes", {})
    return named.get("GET" if method in ("HEAD", "OPTIONS") else method)
