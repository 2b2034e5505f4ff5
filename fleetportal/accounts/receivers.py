"""What follows from signing in, from second factors and from another address; connected in apps.py."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.http import HttpRequest

from devices import evidence
from devices.people import addresses, preferences, second_factor
from fleetportal.accounts import seen
from fleetportal.accounts.middleware import PREFERENCES


def keep_preferences(request: HttpRequest, user: Any) -> None:
    """Into the session, which every page reads anyway."""
    row = preferences.of(user)
    request.session[PREFERENCES] = {"theme": row.theme, "timezone": row.timezone}


def signed_in(request: HttpRequest, user: Any, **_: Any) -> None:
    """A session begins."""
    keep_preferences(request, user)
    seen.is_due(request.session.session_key or "")  # its row says so already


def second_factor_shown(request: HttpRequest, user: Any, **_: Any) -> None:
    """It was used in this session; a recovery code stands for a lost phone."""
    second_factor.show(request.session, user)


def second_factor_added(request: HttpRequest, user: Any, authenticator: Authenticator, **_: Any) -> None:
    """Set up in this session."""
    if authenticator.type in second_factor.TYPES:
        second_factor.show(request.session, user)


def second_factor_kept(instance: Authenticator, created: bool, raw: bool = False, **_: Any) -> None:
    """A new row is evidence, in the transaction that makes it; a row that changes was used or named."""
    if created and not raw:
        codes = instance.type == Authenticator.Type.RECOVERY_CODES
        _tell("account.recovery_codes_made" if codes else "account.second_factor_added", instance)


def address_kept(instance: Any, raw: bool = False, **_: Any) -> None:
    """Whoever writes it down: sign-in looks for small letters."""
    if not raw:
        instance.email = addresses.normal(instance.email or "")


def email_changed(user: Any, from_email_address: EmailAddress | None, to_email_address: EmailAddress, **_: Any) -> None:
    """An address counts from now on. The first one of somebody is confirmed, not changed."""
    before, now = from_email_address.email if from_email_address else "", to_email_address.email
    kind = "account.email_changed" if before and before != now else "account.email_confirmed"
    evidence.record(kind, user=user, detail={"person": user.get_username(), "before": before, "email": now})


def second_factor_removed(instance: Authenticator, **_: Any) -> None:
    """Whoever removed it, in the admin too. With the last one the other sessions end: what they showed is gone."""
    if instance.type != Authenticator.Type.RECOVERY_CODES:  # made anew, which is told, or gone with the last factor
        _tell("account.second_factor_removed", instance)
    if instance.type not in second_factor.TYPES or second_factor.kinds(instance.user):
        return
    session = getattr(getattr(context, "request", None), "session", None)
    current = session.session_key if session is not None else None
    for each in UserSession.objects.filter(user_id=instance.user_id).exclude(session_key=current):
        each.end()
    if session is not None and session.get(second_factor.SHOWN) == str(instance.user_id):
        second_factor.forget(session)


def _tell(kind: str, row: Authenticator) -> None:
    """Who is signed in did it, staff for somebody else too; without a request it was the portal."""
    user = getattr(getattr(context, "request", None), "user", None)
    detail = {"person": row.user.get_username(), "type": row.type}
    evidence.record(kind, user=user if user is not None and user.is_authenticated else None, detail=detail)
