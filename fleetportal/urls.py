"""The HTTP timetable."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path, re_path

from devices.api import CrlView, ProvisionView
from devices.api_tokens import TokenView
from firmware.api.acts import ActView
from firmware.api.campaigns import CampaignsView, CampaignView, DryRunView, UpdatesView, VerdictsView
from firmware.api.keys import KeysView
from firmware.api.releases import ReleaseArtifactView, ReleaseSbomView, ReleasesView, ReleaseView
from firmware.api.stops import StopView
from fleetportal import handlers, health, signin, views, views_exports
from telemetry.api import BandView, ComparableView, ComparisonView, SeriesView
from telemetry.api_exports import ExportFileView, ExportsView, ExportView
from telemetry.https import TelemetryView

urlpatterns = [
    path("", views.overview, name="overview"),
    path("devices/", views.device_list, name="device-list"),
    path("devices/<slug:device_id>/", views.device_page, name="device"),
    path("exports/", views_exports.export_page, name="exports"),
    path("exports/<int:pk>/remove/", views_exports.export_remove, name="export-remove"),
    path("sign-in/", signin.SignIn.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("account/", include("allauth.account.urls")),
    path("account/2fa/", include("allauth.mfa.urls")),
    path("account/sessions/", include("allauth.usersessions.urls")),
    path("", include("allauth.idp.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/", views.api_index, name="api-index"),
    path("api/v1/devices/provision", ProvisionView.as_view(), name="provision"),
    path("api/v1/devices/token", TokenView.as_view(), name="token"),
    path("api/v1/telemetry", TelemetryView.as_view(), name="telemetry"),
    path("api/v1/devices/<slug:device_id>/series", SeriesView.as_view(), name="series"),
    path("api/v1/devices/<slug:device_id>/band", BandView.as_view(), name="band"),
    path("api/v1/devices/<slug:device_id>/comparable", ComparableView.as_view(), name="comparable"),
    path("api/v1/series", ComparisonView.as_view(), name="comparison"),
    path("api/v1/exports", ExportsView.as_view(), name="export-list"),
    path("api/v1/exports/<int:pk>", ExportView.as_view(), name="export"),
    path("api/v1/exports/<int:pk>/file", ExportFileView.as_view(), name="export-file"),
    path("api/v1/campaigns", CampaignsView.as_view(), name="campaigns"),
    path("api/v1/campaigns/<int:campaign>", CampaignView.as_view(), name="campaign"),
    path("api/v1/campaigns/<int:campaign>/updates", UpdatesView.as_view(), name="campaign-updates"),
    path("api/v1/campaigns/<int:campaign>/verdicts", VerdictsView.as_view(), name="campaign-verdicts"),
    path("api/v1/campaigns/<int:campaign>/dry-run", DryRunView.as_view(), name="campaign-dry-run"),
    path("api/v1/campaigns/<int:campaign>/<slug:act>", ActView.as_view(), name="campaign-act"),
    path("api/v1/ota/stop", StopView.as_view(), name="ota-stop"),
    path("api/v1/releases", ReleasesView.as_view(), name="releases"),
    path("api/v1/releases/<int:pk>", ReleaseView.as_view(), name="release"),
    path("api/v1/releases/<int:pk>/artifact", ReleaseArtifactView.as_view(), name="release-artifact"),
    path("api/v1/releases/<int:pk>/sbom", ReleaseSbomView.as_view(), name="release-sbom"),
    path("api/v1/firmware/keys", KeysView.as_view(), name="firmware-keys"),
    re_path(r"^pki/crl/ca-(?P<authority>[0-9]{1,18})\.crl$", CrlView.as_view(), name="crl"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
]

handler403 = handlers.forbidden
handler404 = handlers.not_found
