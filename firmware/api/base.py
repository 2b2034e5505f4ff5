"""What all views of this room have in common: whose door it is, and what a change is conditional on."""

from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView

from devices.people import scopes
from devices.people.permissions import Scoped
from devices.rest import Pages, Strict, Text, check_match, etag, handle, mistake, page, require_match
from devices.tenancy import sees_all

__all__ = [
    "Allowed", "OptionalReasonRequest", "Pages", "ReasonRequest", "Strict", "Text", "View", "check_match", "etag",
    "mistake", "page", "require_match",
]  # fmt: skip


class Allowed(Scoped):
    """Staff with the permission that the view names for the verb; where `customers` is set, members who only look."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """May they? Which rows they get is another question, and `visible_to` answers it."""
        if not super().has_permission(request, view):
            return False
        user = request.user
        if not sees_all(user):
            return bool(getattr(view, "customers", False)) and request.method in ("GET", "HEAD", "OPTIONS")
        permission = view.permission(request)  # type: ignore[attr-defined]
        return user.has_perm(f"firmware.{permission}")


class View(APIView):
    """A view of this room."""

    permission_classes = (Allowed,)
    scopes = {"GET": scopes.FIRMWARE_READ} | dict.fromkeys(("POST", "PATCH", "PUT", "DELETE"), scopes.FIRMWARE_WRITE)
    customers = False
    """Do members see it, with their own rows in it?"""
    needs = "view_campaign"

    def permission(self, request: Request) -> str:
        """Which permission this request asks of staff."""
        return self.needs

    def get_exception_handler(self) -> Any:
        """As everywhere, and with the way to the mistake."""
        return handle

    def get_authenticate_header(self, request: Request) -> str:
        """Nobody in particular is told to sign in (401): DRF has 403 for that where only sessions count."""
        return super().get_authenticate_header(request) or 'Session realm="portal"'


class ReasonRequest(Strict):
    """Why somebody does something."""

    reason = Text(max_length=200)


class OptionalReasonRequest(Strict):
    """Why, where the act speaks for itself."""

    reason = Text(max_length=200, required=False, default="", allow_blank=True)
