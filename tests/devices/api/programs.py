"""Programs of people: what they call the API with."""

from datetime import timedelta

from django.test import Client
from django.utils import timezone

from devices.people import api_tokens


def token(user, tenant, *scopes):
    """A new token of this person, good in this tenant."""
    return api_tokens.make(user, tenant, "a program", list(scopes), timedelta(days=1), timezone.now())[1]


def caller(user, tenant, *scopes):
    """A client that brings one along."""
    return Client(headers={"Authorization": f"Bearer {token(user, tenant, *scopes)}"})
