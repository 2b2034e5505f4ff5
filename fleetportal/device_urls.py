"""The HTTP timetable of the devices' own door: nothing for people, no cookie, no admin."""

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import path, re_path

from devices import est
from devices.api import CrlView, ProvisionView
from devices.api_tokens import TokenView
from fleetportal import health
from telemetry.https import TelemetryView

_EST = {
    "cacerts": est.CaCertsView,
    "csrattrs": est.CsrAttrsView,
    "simpleenroll": est.EnrollView,
    "simplereenroll": est.EnrollView,
}

urlpatterns = [
    path("api/v1/devices/provision", ProvisionView.as_view(), name="provision"),
    path("api/v1/devices/token", TokenView.as_view(), name="token"),
    path("api/v1/telemetry", TelemetryView.as_view(), name="telemetry"),
    *[path(f".well-known/est/{name}", view.as_view()) for name, view in _EST.items()],
    *[path(f".well-known/est/<slug:label>/{name}", view.as_view()) for name, view in _EST.items()],
    re_path(r"^pki/crl/ca-(?P<authority>[0-9]{1,18})\.crl$", CrlView.as_view(), name="crl"),
    path("livez", health.livez, name="livez"),
]


def not_found(request: HttpRequest, exception: Any = None) -> JsonResponse:  # noqa: ARG001 (as Django calls it)
    """Devices get problem details (RFC 9457), never a page for people."""
    body = {"type": "about:blank", "title": "Not Found", "status": 404, "error_code": "not_found"}
    return JsonResponse(body, status=404, content_type="application/problem+json")


handler404 = not_found
