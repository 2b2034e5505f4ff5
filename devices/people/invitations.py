"""Invitations: a link that lets one person join a tenant in a role. Made, mailed, revoked, accepted.

Who may invite is the door's to ask (`access.may(user, TEAM_MANAGE, tenant.pk, auth)`), and asked again under the lock
of the team: PermissionDenied. The link's secret is shown once
and kept as its SHA-256: it has 256 random bits.
"""

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.core.validators import validate_email
from django.db import transaction
from django.template.loader import render_to_string
from django.views.decorators.debug import sensitive_variables

from devices import evidence
from devices.errors import DomainError
from devices.models import Invitation, Membership, Tenant
from devices.people import access

LIFETIME = timedelta(days=7)
MAX_A_DAY = 100
"""Invitations of one tenant in 24 hours: each sends a mail to an address of somebody's choice."""
_SHAPE = re.compile(r"[A-Za-z0-9_-]{43}")
log = structlog.get_logger(__name__)


class InvitationError(DomainError):
    """An invitation cannot be made, or is no longer good."""

    code = "invitation_refused"


@sensitive_variables("token")
def invite(tenant: Tenant, email: str, role: str, user: Any, now: datetime) -> tuple[Invitation, str]:
    """Invite somebody by e-mail address. Returns the row and the secret of its link, which is kept nowhere.

    Inviting the same address again ends the earlier link. Raises `InvitationError`: email_invalid (400), role_unknown
    (400), already_member (409) when a member has this address, invitation_limit (429).
    """
    email = _address(email)
    if role not in Membership.Role.values:
        raise InvitationError("A role is owner, operator or viewer.", "role_unknown", 400)
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        access.lock_team_for(user, tenant.pk)  # two at once would both find no open invitation
        if Membership.objects.filter(tenant=tenant, user__email__iexact=email).exists():
            raise InvitationError("Somebody with this address is a member already.", "already_member", 409)
        rows = Invitation.objects.filter(tenant=tenant)
        if rows.filter(created_at__gt=now - timedelta(days=1)).count() >= MAX_A_DAY:
            raise InvitationError("Too many invitations today: try again tomorrow.", "invitation_limit", 429)
        for earlier in rows.filter(email__iexact=email, accepted_at=None, revoked_at=None):
            revoke(earlier, user, now)
        row = Invitation.objects.create(
            tenant=tenant,
            email=email,
            role=role,
            token_hash=_hash(token),
            invited_by=user,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        detail = {"invitation": row.pk, "email": email, "role": role}
        evidence.record("team.invited", tenant=tenant, user=user, detail=detail)
    return row, token


def mail(invitation: Invitation, link: str) -> bool:
    """Send the link. False when no mail went out: whoever invites has the link, too, and an invitation is not lost."""
    context = {"invitation": invitation, "link": link, "days": LIFETIME.days}
    # A tenant's name is its own to choose: it must not add lines to the head of a mail.
    subject = " ".join(f"You are invited to {invitation.tenant.name} on Fleetportal".split())
    try:
        return bool(send_mail(subject, render_to_string("customers/invitation_mail.txt", context), None,
                              [invitation.email]))  # fmt: skip
    except OSError as error:
        log.warning("invitation_not_mailed", invitation=invitation.pk, error=str(error)[:200])
        return False


def revoke(invitation: Invitation, user: Any, now: datetime, reason: str = "") -> bool:
    """End it at once. False when it was accepted or revoked before."""
    with transaction.atomic():
        access.lock_team_for(user, invitation.tenant_id)
        rows = Invitation.objects.filter(pk=invitation.pk, accepted_at__isnull=True, revoked_at__isnull=True)
        changed = rows.update(revoked_at=now)
        if changed:
            detail = {"invitation": invitation.pk, "email": invitation.email}
            told = {"tenant": invitation.tenant, "user": user, "reason": reason, "detail": detail}
            evidence.record("team.invitation_revoked", **told)
    return bool(changed)


@sensitive_variables("token")
def find(token: str, now: datetime) -> Invitation:
    """The open invitation of a link. Raises `InvitationError` (404, invitation_unknown): unknown, used, ended or old.

    What became of a link is not told: who finds an old one learns nothing from it.
    """
    rows = Invitation.objects.select_related("tenant", "invited_by")
    row = rows.filter(token_hash=_hash(token)).first() if _SHAPE.fullmatch(token) else None
    if row is None or not row.is_open(now):
        raise _unknown()
    return row


@sensitive_variables("token")
def accept(token: str, user: Any, now: datetime) -> Membership:
    """Join. Whoever holds the link may, once; it need not be the address that was invited: evidence keeps both.

    Raises `InvitationError`: invitation_unknown (404), already_member (409), which leaves the link good.
    """
    row = find(token, now)
    with transaction.atomic():
        access.lock_team(row.tenant_id)
        if Membership.objects.filter(tenant=row.tenant, user=user).exists():
            raise InvitationError("You are a member of this team already.", "already_member", 409)
        rows = Invitation.objects.filter(pk=row.pk, accepted_at__isnull=True, revoked_at__isnull=True)
        if not rows.filter(expires_at__gt=now).update(accepted_at=now, accepted_by=user):
            raise _unknown()  # somebody else was first, or it was revoked in this moment
        membership = Membership.objects.create(tenant=row.tenant, user=user, role=row.role)
        detail = {"invitation": row.pk, "email": row.email, "role": row.role, "member": user.get_username()}
        evidence.record("team.joined", tenant=row.tenant, user=user, detail=detail)
    return membership


def has_account(invitation: Invitation) -> bool:
    """Is there somebody with its address? They sign in to join; a second account would only confuse them."""
    return get_user_model().objects.filter(email__iexact=invitation.email, is_active=True).exists()


def _unknown() -> InvitationError:
    return InvitationError("This invitation is not good: it was used, ended or has expired.", "invitation_unknown", 404)


def _address(email: str) -> str:
    email = email.strip().lower()
    try:
        validate_email(email)
        if len(email) > 254:
            raise ValidationError("too long")
    except ValidationError:
        raise InvitationError("This is not an e-mail address.", "email_invalid", 400) from None
    return email


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
