"""The HTTP timetable."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from devices.api.crl import CrlView
from devices.api.devices import DeviceView
from devices.api.histories import DeviceCertificatesView, DeviceEventsView
from devices.api.me import MeView
from devices.api.places import GroupsView, SitesView, SiteView
from devices.api.provisioning import ProvisionView
from devices.api.tenants import InvitationsView, InvitationView, MembersView, MemberView, TenantsView, TenantView
from devices.api_tokens import AccessTokenView, TokenView
from firmware.api.acts import ActView
from firmware.api.campaigns import CampaignsView, CampaignView, DryRunView, UpdatesView, VerdictsView
from firmware.api.device_updates import DeviceUpdatesView
from firmware.api.keys import KeysView
from firmware.api.releases import ReleaseArtifactView, ReleaseSbomView, ReleasesView, ReleaseView
from firmware.api.stops import StopView
from fleetportal import (
    handlers,
    health,
    signin,
    views,
    views_add,
    views_device,
    views_devices,
    views_docs,
    views_exports,
    views_invitation,
    views_preferences,
    views_sessions,
    views_team,
    views_tokens,
)
from fleetportal.accounts.api import ApiTokenView, TokensView
from fleetportal.api_devices import DevicesView
from fleetportal.views_docs import IndexView, SchemaView
from telemetry.api import BandView, ComparableView, ComparisonView, SeriesView
from telemetry.api_exports import ExportFileView, ExportsView, ExportView
from telemetry.api_readings import LatestView, ReadingsView
from telemetry.api_types import DeviceTypesView, DeviceTypeView
from telemetry.https import TelemetryView

urlpatterns = [
    path("", views.overview, name="overview"),
    path("devices/", views_devices.device_list, name="device-list"),
    path("devices/add/", views_add.device_add, name="device-add"),
    path("devices/views/save/", views_devices.view_save, name="view-save"),
    path("devices/views/<int:pk>/remove/", views_devices.view_remove, name="view-remove"),
    path("devices/<slug:device_id>/", views_device.device_page, name="device"),
    path("devices/<slug:device_id>/edit/", views_device.device_edit, name="device-edit"),
    path("devices/<slug:device_id>/events/", views_device.device_events, name="device-events"),
    path("exports/", views_exports.export_page, name="exports"),
    path("exports/<int:pk>/remove/", views_exports.export_remove, name="export-remove"),
    path("sign-in/", signin.SignIn.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("account/login/", RedirectView.as_view(pattern_name="sign-in", query_string=True)),
    path("account/", include("allauth.account.urls")),
    path("account/2fa/", include("allauth.mfa.urls")),
    path("account/sessions/", views_sessions.Sessions.as_view(), name="usersessions_list"),
    path("account/sessions/<int:pk>/end/", views_sessions.session_end, name="session-end"),
    path("", include("fleetportal.accounts.oidc_urls")),
    path("tokens/", views_tokens.tokens, name="tokens"),
    path("tokens/<int:pk>/revoke/", views_tokens.token_revoke, name="token-revoke"),
    path("tokens/apps/<str:client_id>/end/", views_tokens.app_end, name="app-end"),
    path("preferences/", views_preferences.preferences, name="preferences"),
    path("team/", views_team.teams, name="team"),
    path("team/members/<int:pk>/role/", views_team.member_role, name="team-member-role"),
    path("team/members/<int:pk>/remove/", views_team.member_remove, name="team-member-remove"),
    path("team/invitations/<int:pk>/revoke/", views_team.invitation_revoke, name="team-invitation-revoke"),
    path("team/<slug:slug>/", views_team.team, name="team-of"),
    path("team/<slug:slug>/second-factor/", views_team.second_factor_required, name="team-second-factor"),
    path("invitation/", views_invitation.invitation, name="invitation"),
    path("invitation/<slug:token>/", views_invitation.arrive, name="invitation-link"),
    path("admin/", admin.site.urls),
    path("api/docs/", views_docs.docs, name="api-docs"),
    path("api/v1/", IndexView.as_view(), name="api-index"),
    path("api/v1/schema", SchemaView.as_view(), name="schema"),
    path("api/v1/devices/provision", ProvisionView.as_view(), name="provision"),
    path("api/v1/devices/token", TokenView.as_view(), name="token"),
    path("api/v1/devices/access-token", AccessTokenView.as_view(), name="access-token"),
    path("api/v1/tokens", TokensView.as_view(), name="api-tokens"),
    path("api/v1/tokens/<int:pk>", ApiTokenView.as_view(), name="api-token"),
    path("api/v1/telemetry", TelemetryView.as_view(), name="telemetry"),
    path("api/v1/me", MeView.as_view(), name="api-me"),
    path("api/v1/devices", DevicesView.as_view(), name="api-devices"),
    path("api/v1/devices/<slug:device_id>", DeviceView.as_view(), name="api-device"),
    path("api/v1/devices/<slug:device_id>/latest", LatestView.as_view(), name="api-latest"),
    path("api/v1/devices/<slug:device_id>/readings", ReadingsView.as_view(), name="api-readings"),
    path("api/v1/devices/<slug:device_id>/events", DeviceEventsView.as_view(), name="api-device-events"),
    path(
        "api/v1/devices/<slug:device_id>/certificates", DeviceCertificatesView.as_view(), name="api-device-certificates"
    ),
    path("api/v1/devices/<slug:device_id>/updates", DeviceUpdatesView.as_view(), name="api-device-updates"),
    path("api/v1/device-types", DeviceTypesView.as_view(), name="api-device-types"),
    path("api/v1/device-types/<slug:device_type>", DeviceTypeView.as_view(), name="api-device-type"),
    path("api/v1/sites", SitesView.as_view(), name="api-sites"),
    path("api/v1/sites/<int:site>", SiteView.as_view(), name="api-site"),
    path("api/v1/groups", GroupsView.as_view(), name="api-groups"),
    path("api/v1/tenants", TenantsView.as_view(), name="api-tenants"),
    path("api/v1/tenants/<slug:tenant>", TenantView.as_view(), name="api-tenant"),
    path("api/v1/tenants/<slug:tenant>/members", MembersView.as_view(), name="api-members"),
    path("api/v1/tenants/<slug:tenant>/members/<int:member>", MemberView.as_view(), name="api-member"),
    path("api/v1/tenants/<slug:tenant>/invitations", InvitationsView.as_view(), name="api-invitations"),
    path("api/v1/tenants/<slug:tenant>/invitations/<int:invitation>", InvitationView.as_view(), name="api-invitation"),
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

handler400 = handlers.bad_request
handler403 = handlers.forbidden
handler404 = handlers.not_found
handler500 = handlers.server_error
