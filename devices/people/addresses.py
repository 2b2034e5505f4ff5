"""E-mail addresses people sign in with: written one way, and each of one active person.

Sign-in by address, and a forgotten password, look for the address in small letters (django-allauth), in the account
and in the rows of confirmed addresses. One that stands there otherwise, or twice, lets nobody in, or the wrong one.
"""

from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth import get_user_model
from django.db import transaction

INDEX = "user_one_address"
"""What of the database insists."""


def normal(address: str) -> str:
    """As it is kept."""
    return address.strip().lower()


def is_taken(address: str, besides: int | None = None) -> bool:
    """Does somebody else who is active sign in with it? One that waits to be confirmed is nobody's yet."""
    people = get_user_model().objects.filter(email__iexact=address, is_active=True)
    rows = EmailAddress.objects.filter(email__iexact=address, user__is_active=True, verified=True)
    if besides is not None:
        people, rows = people.exclude(pk=besides), rows.exclude(user_id=besides)
    return people.exists() or rows.exists()


def free(address: str) -> None:
    """Whoever is not active any more has it no longer: mails of a forgotten password prefer who once confirmed it."""
    EmailAddress.objects.filter(email__iexact=address, verified=True, user__is_active=False).update(verified=False)


@transaction.atomic
def put(user: Any) -> None:
    """What stands in the account is the one address from now on.

    The earlier one lets nobody in any more, and none that waits to be confirmed takes its place.
    """
    EmailAddress.objects.filter(user_id=user.pk).delete()
    if user.email:
        free(user.email)
        EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=False)
