"""Who needs a second factor, and whether a session has shown one. Asked by pages, by the API and by sockets.

A session shows it once: by signing in with it, by confirming it, or by setting it up. It remembers so, and costs no
query from then on. One that was begun before with a password alone has shown nothing, whatever its person has set up.
"""

from collections.abc import Iterable, MutableMapping
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth import SESSION_KEY as WHO
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q
from django.utils.text import slugify

from devices.models import Membership

SHOWN = "second_factor"
"""Session key: id of the person whose second factor this session has shown."""
STAFF = "staff"
TYPES = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
"""What is a second factor; recovery codes are made beside one."""


def check_words(staff_roles: Iterable[str]) -> None:
    """Refuse a MFA_REQUIRED that names nobody: a misspelt role would be an open door."""
    known = {STAFF, *Membership.Role.values, *(slugify(role) for role in staff_roles)}
    unknown = sorted(settings.MFA_REQUIRED - known)
    if unknown:
        raise ImproperlyConfigured(f"MFA_REQUIRED={','.join(unknown)}: not one of {', '.join(sorted(known))}")


def is_required(user: Any) -> bool:
    """Must this person have one? Staff by what the company says; members, staff among them, by what their tenants say.

    One query, two for staff where a role of staff is named.
    """
    words = settings.MFA_REQUIRED
    if user.is_staff:
        groups = words - {STAFF} - set(Membership.Role.values)
        if STAFF in words:
            return True
        if groups and any(slugify(name) in groups for name in user.groups.values_list("name", flat=True)):
            return True
    asked = Q(tenant__mfa_required=True) | Q(role__in=words & set(Membership.Role.values))
    return Membership.objects.filter(asked, user_id=user.pk).exists()


def kinds(user: Any) -> set[str]:
    """Which ones they have set up."""
    return set(Authenticator.objects.filter(user_id=user.pk, type__in=TYPES).values_list("type", flat=True))


def show(session: MutableMapping[str, Any], user: Any) -> None:
    """This session has shown it."""
    session[SHOWN] = str(user.pk)


def forget(session: MutableMapping[str, Any]) -> None:
    """There is none any more."""
    session.pop(SHOWN, None)


def is_shown(session: MutableMapping[str, Any] | None) -> bool:
    """Has this session shown the second factor of whoever it belongs to?"""
    return bool(session) and session is not None and WHO in session and session.get(SHOWN) == session[WHO]


def lacks(user: Any, session: MutableMapping[str, Any] | None) -> bool:
    """Must this be kept out until a second factor was shown?"""
    return bool(user and user.is_authenticated) and not is_shown(session) and is_required(user)
