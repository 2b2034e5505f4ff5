"""The global stop for apps: is it on, put it on, lift it."""

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from firmware import campaigns
from firmware.api import base, described
from firmware.errors import FirmwareError
from firmware.models import Stop


class StopView(base.View):
    """`GET /api/v1/ota/stop`: is it on? `POST {"reason": …}` stops every offer to every device, at once.

    `DELETE {"reason": …}` lifts it; 409 (not_stopped) where it is not on. Staff.
    """

    def permission(self, request: Request) -> str:
        """Stopping is for more people than going on."""
        return {"POST": "add_stop", "DELETE": "change_stop"}.get(request.method or "", "view_stop")

    @described.STOP
    def get(self, request: Request) -> Response:
        """What holds now."""
        return Response(_document(Stop.objects.select_related("started_by").filter(ended_at__isnull=True).first()))

    @described.STOPPED
    def post(self, request: Request) -> Response:
        """Stop. Where it is stopped already, the stop that holds is told: 200 instead of 201."""
        told = base.ReasonRequest(data=request.data)
        told.is_valid(raise_exception=True)
        now = timezone.now()
        stop = campaigns.stop_all(request.user, told.validated_data["reason"], now)
        return Response(_document(stop), status=201 if stop.started_at == now else 200)

    @described.STOP_LIFTED
    def delete(self, request: Request) -> Response:
        """Go on."""
        told = base.ReasonRequest(data=request.data)
        told.is_valid(raise_exception=True)
        if not campaigns.lift_stop(request.user, told.validated_data["reason"], timezone.now()):
            raise FirmwareError("Nothing is stopped.", "not_stopped")
        return Response(_document(None))


def _document(stop: Stop | None) -> dict[str, Any]:
    if stop is None:
        return {"stopped": False, "since": None, "by": None, "reason": ""}
    return {
        "stopped": True,
        "since": stop.started_at,
        "by": stop.started_by.get_username(),
        "reason": stop.reason,
    }
