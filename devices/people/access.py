"""May this person, with what they bring along, do that in this tenant? Verb by role, rows by `visible_to`."""

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet

from devices.models import Membership, Tenant
from devices.people import scopes
from devices.tenancy import sees_all


@dataclass(frozen=True, slots=True)
class Credential:
    """What a program brought instead of a person's session; DRF keeps it in `request.auth`."""

    kind: str
    """`token` (an API token of ours) or `app` (an access token of the OpenID provider)."""
    name: str
    """Prefix of the token, or id of the app: never a secret."""
    scopes: frozenset[str]
    tenant_id: int | None = None
    """The only tenant it is good in; None: wherever its person is a member."""


def confine(user: Any, tenant_id: int) -> Any:
    """The same person, seeing no more than this tenant: `visible_to` looks at it."""
    user.confined_to = tenant_id
    return user


def brings(auth: Any, scope: str) -> bool:
    """Does the credential include the scope? A person's own session includes all."""
    return auth is None or (isinstance(auth, Credential) and scope in auth.scopes)


def tenants(user: Any, scope: str) -> QuerySet[Tenant]:
    """Where this person may do it. Staff: everywhere; what they may do is their permissions' to say."""
    rows = Tenant.objects.visible_to(user)
    if sees_all(user):
        return rows
    roles = [role for role in scopes.ROLE_SCOPES if scopes.allows(role, scope)]
    mine = Membership.objects.filter(user_id=user.pk, role__in=roles) if user.pk else Membership.objects.none()
    return rows.filter(pk__in=mine.values("tenant_id"))


def may(user: Any, scope: str, tenant_id: int, auth: Any = None) -> bool:
    """May this person, by this credential, do it in this tenant? One query at most."""
    return brings(auth, scope) and tenants(user, scope).filter(pk=tenant_id).exists()


def lock_team(tenant_id: int) -> None:
    """Hold the team of a tenant until the transaction ends: its changes wait for each other; references do not wait."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)


def lock_team_for(user: Any, tenant_id: int) -> None:
    """As `lock_team`, for somebody who manages it: asked again once it is held.

    The door has asked before; who waited here may be no owner any more. What staff may, no team changes. Nobody
    (None) is the portal itself. Raises PermissionDenied.
    """
    lock_team(tenant_id)
    if user is not None and not sees_all(user) and not may(user, scopes.TEAM_MANAGE, tenant_id):
        raise PermissionDenied("You do not manage this team any more.")


def role_of(user: Any, tenant_id: int) -> str:
    """Their role in the tenant; empty where they have none."""
    rows = Membership.objects.visible_to(user).filter(user_id=user.pk, tenant_id=tenant_id)
    return rows.values_list("role", flat=True).first() or ""
