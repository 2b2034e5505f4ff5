"""The HTTP timetable."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import path, re_path

from devices.api import CrlView, ProvisionView
from devices.api_tokens import TokenView
from fleetportal import health, signin, views
from telemetry.api import SeriesView
from telemetry.https import TelemetryView

urlpatterns = [
    path("", views.overview, name="overview"),
    path("devices/", views.device_list, name="device-list"),
    path("devices/<slug:device_id>/", views.device_page, name="device"),
    path("sign-in/", signin.SignIn.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("admin/", admin.site.urls),
    path("api/v1/", views.api_index, name="api-index"),
    path("api/v1/devices/provision", ProvisionView.as_view(), name="provision"),
    path("api/v1/devices/token", TokenView.as_view(), name="token"),
    path("api/v1/telemetry", TelemetryView.as_view(), name="telemetry"),
    path("api/v1/devices/<slug:device_id>/series", SeriesView.as_view(), name="series"),
    re_path(r"^pki/crl/ca-(?P<authority>[0-9]{1,18})\.crl$", CrlView.as_view(), name="crl"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
]
