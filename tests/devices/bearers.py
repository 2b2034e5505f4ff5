"""Devices with tokens, and what they do with them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices import tokens
from devices.errors import DomainError
from devices.models import DeviceToken

NOW = timezone.now()
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def make(device, now=NOW, **kwargs):
    return tokens.make(device, now, **kwargs)


def use(token, now=NOW):
    """As a door does."""
    row = tokens.check(token, now)
    tokens.used(row, now)
    return row


def rotate(token, now=NOW, **kwargs):
    """As the device does, with the token it holds."""
    return tokens.rotate(use(token, now), now, **kwargs)[1]


def refusal(call, *args, **kwargs):
    with pytest.raises(DomainError) as error:
        call(*args, **kwargs)
    return error.value.status, error.value.code


def good(device, now=NOW):
    return DeviceToken.objects.filter(device=device, revoked_at=None, expires_at__gt=now).count()
