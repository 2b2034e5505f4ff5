"""The devices' HTTPS door of this room: is my update still wanted, and its file."""

from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.authentication import DeviceView, speaker_of
from devices.problems import problem
from firmware import links, sending

WANTED_LATER_SECONDS = 60
"""When to ask again for an update that a pause or the global stop holds back."""


class UpdateView(DeviceView):
    """`GET /api/v1/updates/<update_id>`: is it still wanted? Asked before download, installation and reboot.

    200 `{"wanted": true, "attempt": n, "url": …}`: go on; the link is good for LINK_SECONDS. From INSTALLING on the
    answer is always this one: what is half-written must be finished, whatever people decide.
    200 `{"wanted": false, "retry_after": s}`: not now. Its campaign is paused, about to end or to be taken back, or
    the global stop is on, and nothing was written to flash yet: keep what was downloaded and ask again.
    Problem details: 410 update_over (it ended, or was taken back: drop it), 404 update_unknown (none, never offered,
    or another device's), and those of `DeviceAuthentication`: 401, 403, 429 throttled, 503 try_again.
    """

    throttle_scope = "update"

    def get(self, request: Request, update_id: UUID) -> Response:
        """Tell."""
        update = links.of_device(update_id, speaker_of(request).device)
        if not links.wanted(update):
            body = {"wanted": False, "retry_after": WANTED_LATER_SECONDS}
            return Response(body, headers={"Retry-After": str(WANTED_LATER_SECONDS)})
        return Response({"wanted": True, "attempt": update.attempt, "url": links.url(update)})


class FileView(APIView):
    """Base of what answers with a file: nothing is negotiated, a client may ask for types DRF knows nothing of."""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """Problem details, where there is a problem, are JSON."""
        return JSONRenderer(), JSONRenderer.media_type


class ArtifactView(FileView, DeviceView):
    """`GET|HEAD /api/v1/artifacts/<token>`: the file of an update, to its device only.

    200, or 206 for one `Range` (`If-Range` with the ETag), 304, 412 (`If-Match`), 416 with `Content-Range: bytes */n`.
    The ETag is the SHA-256, Content-Length is always told, and a download that broke off goes on where it ended.
    Problem details: 403 link_bad (also another device's), link_expired; 410 update_over; 503 with Retry-After: busy
    (too many downloads at once), not_now (as UpdateView: keep what there is and ask again), artifact_missing; and those
    of `DeviceAuthentication`.
    """

    # Without a rate: clients that stream ask once a block. How many at once is limited instead (sending.py).

    def get(self, request: Request, token: str) -> HttpResponseBase:
        """Send it."""
        device = speaker_of(request).device
        update = links.read(token)
        if update.device_id != device.pk or update.release is None:
            raise links.bad()
        if not links.wanted(update):
            refusal = problem(503, "not_now", "This update is held back. Ask again.")
            refusal["Retry-After"] = str(WANTED_LATER_SECONDS)
            return refusal
        return sending.artifact(request._request, update.release.artifact, f"device:{device.pk}")
