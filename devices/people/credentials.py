"""What goes on for somebody while they are away: API tokens, and apps that they let in. A new password ends both.

Whoever sets a password anew may do so because somebody else knew the old one, and made themselves a way back in.
"""

from datetime import datetime
from typing import Any

from allauth.idp.oidc.models import Client, Token
from django.db import transaction

from devices import evidence
from devices.people import api_tokens, families


@transaction.atomic
def password_set(user: Any, kind: str, now: datetime, by: Any = None) -> None:
    """Leave evidence of this kind, and end all; `by` is who set it, where that was not the person.

    Call it inside the transaction that keeps the new password.
    """
    actor = by or user
    why = "A new password was set"
    tokens = [api_tokens.revoke(row, actor, now, why) for row in api_tokens.good(user, now).select_related("tenant")]
    held = Token.objects.filter(user_id=user.pk).values("client_id")
    apps = [families.disconnect(user, client, why) for client in Client.objects.filter(pk__in=held).order_by("pk")]
    detail = {"person": user.get_username(), "tokens": sum(tokens), "apps": sum(apps)}
    evidence.record(kind, user=actor, detail=detail, at=now)
