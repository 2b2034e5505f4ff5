"""Requests that are made twice: the second one gets the answer of the first, and nothing is done again.

The row of a request is locked while it is worked on, and its answer is written in the same transaction as what was
made. So nobody needs to guess how long a crash takes: a row without an answer that nobody locks is free, and with it
nothing was made. Kept is a digest of the key; the answer, which may hold a secret that is shown once, is encrypted by
the key itself.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import transaction
from django.utils.crypto import salted_hmac

from devices.errors import DomainError
from devices.models import RepeatedRequest

KEPT = timedelta(days=1)
_TRIES = 5


class RepeatError(DomainError):
    """A key that cannot be used for this."""

    code = "idempotency_refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What came of the work: an answer to keep, or a refusal to raise. A refused request may be made anew."""

    answer: Answer | None = None
    refused: Exception | None = None


def once(user: Any, key: str, fingerprint: str, now: datetime, work: Callable[[], Done]) -> Answer | None:
    """Do the work and return None, or return what was answered before.

    Raises `RepeatError`: request_in_progress (409), idempotency_key_reused (422); and what the work refuses.
    """
    for _ in range(_TRIES):
        name = _name(user, key)
        # In a transaction of its own: others must see it while this one is worked on.
        RepeatedRequest.objects.bulk_create(
            [RepeatedRequest(user=user, key=name, fingerprint=fingerprint, created_at=now)], ignore_conflicts=True
        )
        with transaction.atomic():
            rows = RepeatedRequest.objects.filter(user=user, key=name)
            row = rows.select_for_update(skip_locked=True).first()
            if row is not None:
                before = _answered(row, key, fingerprint, now)
                if before is not None:
                    return before
                done = work()
                _keep(row, key, fingerprint, now, done)
        if row is not None:
            if done.refused is not None:
                raise done.refused
            return None
        if RepeatedRequest.objects.filter(user=user, key=name).exists():
            break
    raise RepeatError("A request with this key is being worked on. Ask again in a moment.", "request_in_progress", 409)


def forget(now: datetime) -> int:
    """Forget what is older than a day. Returns how many that were."""
    return RepeatedRequest.objects.filter(created_at__lte=now - KEPT).delete()[0]


def _answered(row: RepeatedRequest, key: str, fingerprint: str, now: datetime) -> Answer | None:
    """What was answered. None: nothing was made by it, or that is long ago."""
    if row.status is None or row.created_at <= now - KEPT:
        return None
    if row.fingerprint != fingerprint:
        text = "This Idempotency-Key was used for another request: take a new one for each."
        raise RepeatError(text, "idempotency_key_reused", 422)
    return Answer(row.status, _cipher(row.user_id, key).decrypt(bytes(row.body)), row.headers)


def _keep(row: RepeatedRequest, key: str, fingerprint: str, now: datetime, done: Done) -> None:
    if done.answer is None:
        row.delete()
        return
    row.fingerprint, row.created_at = fingerprint, now
    row.status, row.headers = done.answer.status, done.answer.headers
    row.body = _cipher(row.user_id, key).encrypt(done.answer.body)
    row.save()


def _name(user: Any, key: str) -> str:
    return hashlib.sha256(f"{user.pk}:{key}".encode()).hexdigest()


def _cipher(user_id: int, key: str) -> Fernet:
    seed = salted_hmac("devices.people.repeats", f"{user_id}:{key}", secret=settings.SECRET_KEY, algorithm="sha256")
    derived = HKDF(SHA256(), 32, salt=None, info=b"answer").derive(seed.digest())
    return Fernet(base64.urlsafe_b64encode(derived))
