"""The OpenID provider for apps: django-allauth asks here."""

from allauth.idp.oidc.adapter import DefaultOIDCAdapter


class Adapter(DefaultOIDCAdapter):
    """Keys, scopes and claims of ours."""
