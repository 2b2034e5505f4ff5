"""The HTTP timetable of the devices' own door: nothing for people, no cookie, no admin."""

from django.urls import path, re_path

from devices import est
from devices.api.crl import CrlView
from devices.api.provisioning import ProvisionView
from devices.api_tokens import AccessTokenView, TokenView
from firmware.api.keys import KeysView
from firmware.downloads import ArtifactView, UpdateView
from fleetportal import handlers, health
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
    path("api/v1/devices/access-token", AccessTokenView.as_view(), name="access-token"),
    path("api/v1/telemetry", TelemetryView.as_view(), name="telemetry"),
    path("api/v1/updates/<uuid:update_id>", UpdateView.as_view(), name="update"),
    path("api/v1/artifacts/<str:token>", ArtifactView.as_view(), name="artifact"),
    path("api/v1/firmware/keys", KeysView.as_view(), name="firmware-keys"),
    *[path(f".well-known/est/{name}", view.as_view()) for name, view in _EST.items()],
    *[path(f".well-known/est/<slug:label>/{name}", view.as_view()) for name, view in _EST.items()],
    re_path(r"^pki/crl/ca-(?P<authority>[0-9]{1,18})\.crl$", CrlView.as_view(), name="crl"),
    path("livez", health.livez, name="livez"),
]

handler404 = handlers.problem_not_found
