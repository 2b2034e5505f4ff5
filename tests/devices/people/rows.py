"""Rows of every kind that people have, for tests that look at all models."""

import uuid
from datetime import datetime, timedelta

from devices.models import (
    ApiToken,
    Claim,
    ClaimCode,
    Device,
    Invitation,
    Preference,
    RepeatedRequest,
    SavedView,
    SigningKey,
    SpentToken,
    Tenant,
)


def add_all(tenant: Tenant, user, now: datetime, text: str = "something") -> None:
    """One more of everything that a member of this tenant can have."""
    soon, unique = now + timedelta(days=1), uuid.uuid4().hex
    Invitation.objects.create(
        tenant=tenant, email=f"{unique}@example.com", role="viewer", token_hash=unique, invited_by=user, expires_at=soon
    )
    ApiToken.objects.create(
        tenant=tenant, user=user, name=text, prefix=unique[:12], token_hash=unique, scopes=["devices:read"],
        expires_at=soon,
    )  # fmt: skip
    SavedView.objects.create(user=user, page="/devices/", name=text, query="q=1")
    Preference.objects.create(user=user, timezone="Europe/Berlin")
    RepeatedRequest.objects.create(user=user, key=unique, fingerprint=unique)
    SigningKey.objects.create(pem="", not_before=now, expires_at=soon)
    SpentToken.objects.create(token_hash=unique, family=uuid.uuid4(), user=user)


def sell(device: Device, claim: Claim, user, now: datetime) -> ClaimCode:
    """A device that came by a claim code, and one that nobody has added yet."""
    ClaimCode.objects.create(claim=claim, hardware_id=f"unsold-{device.pk}", code_hash=uuid.uuid4().hex)
    return ClaimCode.objects.create(
        claim=claim,
        hardware_id=f"sold-{device.pk}",
        code_hash=uuid.uuid4().hex,
        device=device,
        redeemed_by=user,
        redeemed_at=now,
    )
