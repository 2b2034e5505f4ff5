"""Families of tokens: all that came from one consent of a person to an app, from its code to the newest refresh token.

A refresh token is exchanged once. Who brings one a second time has stolen it or was robbed, and nobody can tell which:
the whole family ends (RFC 9700, 4.14.2). One exception, as an answer can get lost on its way: within `PATIENCE` the
same token may be brought again, as long as nothing of what it was exchanged for was used. Then that is withdrawn, and
counts as spent. So there is never more than one good refresh token of a family, and a thief who is quicker than its
owner ends the family as soon as the other comes: it costs seconds, not the detection. A code is never patient.

Everything that changes a family happens under its lock, in a transaction: two exchanges at once come one by one.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from allauth.idp.oidc.models import Client, Token
from django.db import connection, transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from devices import evidence
from devices.models import SpentToken

PATIENCE: Final = timedelta(seconds=30)
"""How long a client that got no answer may repeat itself: longer than it waits for one, shorter than a theft takes."""
REMEMBERED: Final = timedelta(days=31)
"""How long what was spent is remembered: longer than a refresh token lives."""

_ACCESS, _REFRESH = Token.Type.ACCESS_TOKEN, Token.Type.REFRESH_TOKEN


@dataclass(frozen=True, slots=True)
class Exchange:
    """A refresh token that may be exchanged, its family locked until the transaction ends."""

    row: Token
    """What goes: the token that was brought, or its lost successor."""
    family: uuid.UUID
    brought: str
    """Hash of the token that was brought: what its successor will be `after`."""


@sensitive_variables("value")
def digest(value: str) -> str:
    """How a token or a code is kept: SHA-256, hex. They have 256 random bits or more."""
    return hashlib.sha256(value.encode(errors="replace")).hexdigest()


@sensitive_variables("value")
def redeem(value: str, now: datetime) -> uuid.UUID | None:
    """Spend an authorization code: the family it founds, or None when it founded one already, which then ends.

    Call `spend` with the family when all else about the request was found good; until then the code is good.
    """
    code = digest(value)
    _lock(code)
    spent = SpentToken.objects.filter(token_hash=code).first()
    if spent is None:
        return uuid.uuid4()
    _replayed(spent, now)
    return None


@sensitive_variables("value")
def exchange(value: str, client: Client, now: datetime) -> Exchange | None:
    """A refresh token of this client that may be exchanged. None refuses it; if it was a replay, its family is over."""
    brought = digest(value)
    live = Token.objects.filter(type=_REFRESH, hash=brought, client=client)
    family = family_of(live.first()) or _spent_family(brought)
    if family is None:
        return None
    _lock(str(family))
    row = live.select_related("user").first()  # again: who held the lock may have spent it
    if row is not None:
        return Exchange(row, family, brought) if row.expires_at is None or row.expires_at > now else None
    spent = SpentToken.objects.filter(token_hash=brought).first()
    if spent is None:
        return None
    successor = _lost(spent, client, now)
    if successor is None:
        _replayed(spent, now)
        return None
    return Exchange(successor, family, brought)


def spend(token_hash: str, family: uuid.UUID, user: Any, now: datetime) -> None:
    """Remember that this code or refresh token was exchanged."""
    SpentToken.objects.create(token_hash=token_hash, family=family, user=user, spent_at=now)


def withdraw(going: Exchange, now: datetime) -> None:
    """Spend what is exchanged. Access tokens beside it live on for their minutes, but those of a lost answer do not."""
    row = going.row
    spend(row.hash, going.family, row.user, now)
    if row.hash != going.brought:
        of_family(going.family, row.user_id).filter(type=_ACCESS, data__beside=row.hash).delete()
    row.delete()


def of_family(family: uuid.UUID, user_id: Any) -> Any:
    """Tokens of a family that are there."""
    return Token.objects.filter(user_id=user_id, data__family=str(family))


def family_of(token: Token | None) -> uuid.UUID | None:
    """The family of a token of ours."""
    told = token.data.get("family") if token is not None and isinstance(token.data, dict) else None
    return uuid.UUID(told) if told else None


def used(token: Token) -> bool:
    """An access token is at work: its answer arrived. False when it was withdrawn in this very moment."""
    if isinstance(token.data, dict) and token.data.get("used"):
        return True
    return bool(Token.objects.filter(pk=token.pk).update(data={**(token.data or {}), "used": True}))


@transaction.atomic
def end(family: uuid.UUID, user: Any, why: str) -> bool:
    """End a family at once. Was there anything to end?"""
    _lock(str(family))
    rows = of_family(family, user.pk)
    names = sorted(set(rows.values_list("client__name", flat=True)))
    count, _ = rows.delete()
    if count:
        evidence.record("app.ended", user=user, reason=why, detail={"app": ", ".join(names), "tokens": count})
    return bool(count)


@transaction.atomic
def disconnect(user: Any, client: Client, why: str = "") -> bool:
    """Take an app's access to a person away. Was there any?"""
    rows = Token.objects.filter(user_id=user.pk, client=client)
    found = {family_of(row) for row in rows}
    ended = [end(family, user, why) for family in sorted(filter(None, found), key=str)]
    return any(ended)


def connected(user: Any, now: datetime) -> list[dict[str, Any]]:
    """Apps that can do something for this person now: the app, what it may do, since when."""
    rows = Token.objects.filter(user_id=user.pk, expires_at__gt=now, client__isnull=False).select_related("client")
    found: dict[str, dict[str, Any]] = {}
    for row in rows.order_by("client__name", "created_at"):
        told = found.setdefault(row.client_id, {"client": row.client, "since": row.created_at, "scopes": set()})
        told["scopes"].update(row.get_scopes())
        told["since"] = min(told["since"], _since(row))
    return list(found.values())


def tidy(now: datetime) -> int:
    """Drop tokens that are over, and what nobody can bring any more. How many went?"""
    over = Q(expires_at__lte=now - timedelta(days=1))
    tokens, _ = Token.objects.filter(over).delete()
    spent, _ = SpentToken.objects.filter(spent_at__lte=now - REMEMBERED).delete()
    return int(tokens + spent)


def _since(row: Token) -> datetime:
    told = row.data.get("since") if isinstance(row.data, dict) else None
    return datetime.fromisoformat(told) if told else row.created_at


def _spent_family(token_hash: str) -> uuid.UUID | None:
    return SpentToken.objects.filter(token_hash=token_hash).values_list("family", flat=True).first()


def _lost(spent: SpentToken, client: Client, now: datetime) -> Token | None:
    """What this token was exchanged for, where the answer got lost: it is young, and nothing of it was used."""
    rows = of_family(spent.family, spent.user_id).select_related("user")
    found = rows.filter(type=_REFRESH, client=client, data__after=spent.token_hash).select_for_update(of=("self",))
    successor: Token | None = found.first()
    if successor is None or now - spent.spent_at > PATIENCE:
        return None
    # Locked, so that none of them is used between this look and its end.
    beside = rows.filter(type=_ACCESS, data__beside=successor.hash).select_for_update(of=("self",))
    return None if any(row.data.get("used") for row in beside) else successor


def _replayed(spent: SpentToken, now: datetime) -> None:
    if end(spent.family, spent.user, "A code or refresh token was brought a second time"):
        evidence.record("app.replayed", user=spent.user, detail={"family": str(spent.family)}, at=now)


def _lock(name: str) -> None:
    """Held until the transaction ends; half a hash is wide enough that families do not wait for each other."""
    key = int.from_bytes(hashlib.sha256(f"family:{name}".encode()).digest()[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [key])
