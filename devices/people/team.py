"""The team of a tenant: roles change, people go. A tenant that has an owner keeps one, whoever asks at the same time.

Who may is the door's to ask (`access.may(user, TEAM_MANAGE, tenant_id, auth)`; anybody may remove themselves), and
asked again under the lock of the team: PermissionDenied.
"""

from datetime import datetime
from typing import Any

from django.db import transaction

from devices import evidence
from devices.errors import DomainError
from devices.models import ApiToken, Invitation, Membership, Tenant
from devices.people import access


class TeamError(DomainError):
    """A change of a team that cannot be."""

    code = "team_refused"


def change_role(membership: Membership, role: str, user: Any, now: datetime) -> None:
    """Give a member another role; the same one changes nothing.

    Raises `TeamError`: role_unknown (400), not_a_member (409) when they are gone meanwhile, last_owner (409).
    """
    if role not in Membership.Role.values:
        raise TeamError("A role is owner, operator or viewer.", "role_unknown", 400)
    with transaction.atomic():
        access.lock_team_for(user, membership.tenant_id)
        row = _again(membership)
        if row.role == role:
            return
        _require_owner_beside(row)
        detail = {"member": row.user.get_username(), "role": role, "before": row.role}
        Membership.objects.filter(pk=row.pk).update(role=role)
        if row.role == Membership.Role.OWNER:
            _end_invitations(row, user, now)
        evidence.record("team.role_changed", tenant=row.tenant, user=user, detail=detail, at=now)
    membership.role = role


def remove(membership: Membership, user: Any, now: datetime) -> None:
    """See a member go, and with them their API tokens of this tenant and the links by which they invited others.

    Raises `TeamError`: not_a_member (409) when they were gone before, last_owner (409).
    """
    left = user is not None and user.pk == membership.user_id
    with transaction.atomic():
        if left:
            access.lock_team(membership.tenant_id)
        else:
            access.lock_team_for(user, membership.tenant_id)
        row = _again(membership)
        _require_owner_beside(row)
        tokens = ApiToken.objects.filter(tenant_id=row.tenant_id, user_id=row.user_id, revoked_at__isnull=True)
        detail = {
            "member": row.user.get_username(),
            "role": row.role,
            "tokens": list(tokens.order_by("prefix").values_list("prefix", flat=True)),
        }
        tokens.update(revoked_at=now)
        Membership.objects.filter(pk=row.pk).delete()
        _end_invitations(row, user, now)
        evidence.record("team.left" if left else "team.removed", tenant=row.tenant, user=user, detail=detail, at=now)


def require_mfa(tenant: Tenant, required: bool, user: Any, now: datetime) -> bool:
    """Ask a second factor of all members, or no longer. False when it was so before."""
    with transaction.atomic():
        access.lock_team_for(user, tenant.pk)
        changed = Tenant.objects.filter(pk=tenant.pk).exclude(mfa_required=required).update(mfa_required=required)
        if changed:
            detail = {"required": required}
            evidence.record("team.mfa_required", tenant=tenant, user=user, detail=detail, at=now)
    tenant.mfa_required = required
    return bool(changed)


def _again(membership: Membership) -> Membership:
    """The membership as it is under the lock of its team: of two last owners only one goes."""
    row = Membership.objects.select_related("tenant", "user").filter(pk=membership.pk).first()
    if row is None:
        raise TeamError("They are no longer in this team.", "not_a_member", 409)
    return row


def _end_invitations(row: Membership, user: Any, now: datetime) -> None:
    """Who may invite nobody any more has seen these links, and would come back by one, as an owner."""
    theirs = Invitation.objects.filter(tenant_id=row.tenant_id, invited_by_id=row.user_id)
    for each in theirs.filter(accepted_at=None, revoked_at=None).order_by("pk"):
        Invitation.objects.filter(pk=each.pk).update(revoked_at=now)
        detail = {"invitation": each.pk, "email": each.email}
        why = "Who invited is no owner any more"
        evidence.record("team.invitation_revoked", tenant=row.tenant, user=user, reason=why, detail=detail, at=now)


def _require_owner_beside(row: Membership) -> None:
    owners = Membership.objects.filter(tenant_id=row.tenant_id, role=Membership.Role.OWNER, user__is_active=True)
    if row.role == Membership.Role.OWNER and not owners.exclude(pk=row.pk).exists():
        raise TeamError("A team keeps an owner: make somebody else an owner first.", "last_owner", 409)
