"""The OpenID provider for apps, as django-allauth asks for it: who issues, which keys, what is told of a person."""

from collections.abc import Iterable
from typing import Any, Final, Literal

from allauth.account.models import EmailAddress
from allauth.idp.oidc.adapter import DefaultOIDCAdapter
from allauth.idp.oidc.models import Client, PrivateKey

from devices.models import Membership
from devices.people import families, scopes, signing_keys
from devices.tenancy import sees_all

OFFLINE: Final = "offline_access"
"""With it an app gets refresh tokens, and goes on while its person is away."""
IDENTITY: Final = {
    "openid": "Know that it is you",
    "profile": "See your name and user name",
    "email": "See your e-mail address",
    OFFLINE: "Go on while you are away, until you take its access away",
}
"""Scopes of OpenID → what a person is told that they let an app do."""
WORDS: Final = {**IDENTITY, **scopes.SCOPES}
"""All scopes, in the order in which they are told."""


def grantable(user: Any, asked: Iterable[str]) -> list[str]:
    """Of what an app asks for what this person can hand on: no role that they have includes the others."""
    wanted = frozenset(asked)
    if sees_all(user):
        return [each for each in WORDS if each in wanted]
    roles = set(Membership.objects.filter(user_id=user.pk).values_list("role", flat=True))
    held = {each for each in scopes.SCOPES if any(scopes.allows(role, each) for role in roles)}
    return [each for each in WORDS if each in wanted and (each in IDENTITY or each in held)]


class Adapter(DefaultOIDCAdapter):
    """Keys, scopes and claims of ours."""

    scope_display = WORDS

    def get_issuer(self) -> str:
        """A setting; never what a request says."""
        return signing_keys.issuer()

    def hash_token(self, token: str) -> str:
        """As everything that is brought a second time is recognised."""
        return families.digest(token)

    def list_private_keys(self, **_: Any) -> list[PrivateKey]:
        """None: what signs and verifies is `signing_keys`, and no private key leaves it."""
        return []

    def get_claims(
        self,
        purpose: Literal["id_token", "userinfo"],
        user: Any,
        client: Client,
        scopes: Iterable[str],
        email: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """As usual; where nobody has confirmed an address, the one that staff wrote down, as not verified."""
        told: dict[str, Any] = super().get_claims(purpose, user, client, scopes, email=email, **kwargs)
        if "email" in scopes and "email" not in told and user.email:
            verified = EmailAddress.objects.filter(user=user, email__iexact=user.email, verified=True).exists()
            told |= {"email": user.email, "email_verified": verified}
        return told
