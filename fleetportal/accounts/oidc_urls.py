"""Addresses of the OpenID provider: django-allauth's, without the grants and doors that we do not have."""

from django.urls import include, path

from fleetportal.accounts import oidc_views as views

app_name = "idp"
_OIDC = [
    path(".well-known/openid-configuration", views.ConfigurationView.as_view(), name="configuration"),
    path(".well-known/jwks.json", views.JwksView.as_view(), name="jwks"),
    path("identity/o/authorize", views.AuthorizationView.as_view(), name="authorization"),
    path("identity/o/api/token", views.TokenView.as_view(), name="token"),
    path("identity/o/api/revoke", views.RevokeView.as_view(), name="revoke"),
    path("identity/o/api/userinfo", views.UserInfoView.as_view(), name="userinfo"),
]
urlpatterns = [path("", include((_OIDC, "oidc")))]
