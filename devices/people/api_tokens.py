"""API tokens of members: made, checked, revoked. A token never does more than its person may, now.

Shown once; kept are its first characters and its SHA-256, which is enough for 256 random bits.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from devices import evidence
from devices.errors import DomainError, TokenError
from devices.models import ApiToken, Membership, Tenant
from devices.people import access, scopes

PREFIX: Final = "fpa_"
"""How an API token is recognised, by us and by secret scanners."""
LIFETIME: Final = timedelta(days=90)
MAX_LIFETIME: Final = timedelta(days=730)
MAX_GOOD: Final = 20
"""Good tokens of one person, in all their tenants."""
KEPT_TO: Final = timedelta(minutes=1)
"""`last_used_at` is this exact: a busy program writes it no more often."""

_PREFIX_LENGTH = 12
_SHAPE = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
_NO_HASH = "0" * 64


class ApiTokenError(DomainError):
    """A token cannot be made so."""

    code = "token_refused"


@dataclass(frozen=True, slots=True)
class Good:
    """A token that may be used, and what for: what it includes and its person may do, both."""

    row: ApiToken
    """With `user` and `tenant` at hand."""
    scopes: frozenset[str]


def offered(role: str) -> dict[str, str]:
    """What somebody of this role may let a token do: scope → words."""
    return {scope: words for scope, words in scopes.SCOPES.items() if scopes.allows(role, scope)}


@sensitive_variables("token")
def make(
    user: Any, tenant: Tenant, name: str, wanted: Iterable[str], lifetime: timedelta, now: datetime
) -> tuple[ApiToken, str]:
    """Make a token. Returns its row and the token itself, which is shown once and kept nowhere.

    Raises `ApiTokenError`: not_a_member, not_signed_in (403), token_name, token_scopes, token_lifetime (400),
    token_limit (409).
    """
    chosen, name = frozenset(wanted), name.strip()
    role = access.role_of(user, tenant.pk)
    if not role:
        raise ApiTokenError("Only members of an organisation make tokens for it.", "not_a_member", 403)
    if not 0 < len(name) <= 100 or "\0" in name:
        raise ApiTokenError("Say what it is for, in at most 100 characters.", "token_name")
    if not chosen or not chosen <= offered(role).keys():
        raise ApiTokenError("Choose what it may do, and no more than you may.", "token_scopes")
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise ApiTokenError(f"A token lives at most {MAX_LIFETIME.days} days.", "token_lifetime")
    token = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        # Two at once must both be counted; and who set a new password meanwhile has ended the session that asks.
        person = get_user_model().objects.select_for_update(no_key=True).get(pk=user.pk)
        if not person.is_active or person.get_session_auth_hash() != user.get_session_auth_hash():
            raise ApiTokenError("A new password was set: sign in again.", "not_signed_in", 403)
        if good(user, now).count() >= MAX_GOOD:
            raise ApiTokenError(f"You have {MAX_GOOD} tokens: revoke one first.", "token_limit", 409)
        row = ApiToken.objects.create(
            tenant=tenant,
            user=user,
            name=name,
            prefix=token[:_PREFIX_LENGTH],
            token_hash=_hash(token),
            scopes=sorted(chosen),
            created_at=now,
            expires_at=now + lifetime,
        )
        detail = {"token": row.prefix, "name": name, "scopes": row.scopes, "expires_at": row.expires_at.isoformat()}
        evidence.record("apitoken.made", tenant=tenant, user=user, detail=detail)
    return row, token


def mine(user: Any) -> Any:
    """Tokens somebody has made and still sees the tenant of; the newest first."""
    return ApiToken.objects.visible_to(user).filter(user_id=user.pk).select_related("tenant")


def good(user: Any, now: datetime) -> Any:
    """Of all that somebody made those that are neither revoked nor over."""
    return ApiToken.objects.filter(user_id=user.pk, revoked_at__isnull=True, expires_at__gt=now)


@transaction.atomic
def revoke(row: ApiToken, user: Any, now: datetime, reason: str = "") -> bool:
    """End a token at once. False when it had been revoked before."""
    changed = ApiToken.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=now)
    if changed:
        detail = {"token": row.prefix, "name": row.name}
        evidence.record("apitoken.revoked", tenant=row.tenant, user=user, reason=reason, detail=detail)
    return bool(changed)


@sensitive_variables("token")
def check(token: str, now: datetime) -> Good:
    """A token that may be used. Raises `TokenError` (401): token_unknown, token_revoked, token_expired.

    What is found costs the same as what is not: one look, one hash, one comparison in constant time. Whose person was
    put out of service, or has left the tenant, is as good as revoked.
    """
    token = token if _SHAPE.fullmatch(token) else ""
    rows = ApiToken.objects.filter(prefix=token[:_PREFIX_LENGTH]).order_by().select_related("user", "tenant")
    row = next(iter(rows[:1]), None)
    if not hmac.compare_digest(_hash(token), row.token_hash if row else _NO_HASH) or row is None:
        raise TokenError("This token is not known.", "token_unknown")
    if row.revoked_at is not None:
        raise TokenError("This token was revoked.", "token_revoked")
    if not row.is_good(now):
        raise TokenError("This token has expired.", "token_expired")
    role = Membership.objects.filter(user_id=row.user_id, tenant_id=row.tenant_id).values_list("role", flat=True)
    held = next(iter(role[:1]), "") if row.user.is_active else ""
    if not held:
        raise TokenError("Whose token this is, is no longer here.", "token_revoked")
    return Good(row, frozenset(each for each in row.scopes if scopes.allows(held, each)))


def used(row: ApiToken, now: datetime) -> None:
    """Note that it is at work, once a minute."""
    if row.last_used_at is None or now - row.last_used_at >= KEPT_TO:
        ApiToken.objects.filter(pk=row.pk).update(last_used_at=now)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
