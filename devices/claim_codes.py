"""Claim codes: made by staff for devices that will be sold, redeemed by who bought one, or revoked.

A code has 80 random bits in four groups of Crockford's Base32, so that people can type it; kept is its SHA-256. The
device enrols by the claim it was built with, and `place` says whether it may: it waits until its code was redeemed.
"""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables
from redis import RedisError

from devices import evidence, lifecycle
from devices.errors import DeviceError
from devices.models import Claim, ClaimCode, Device, Tenant
from devices.models.fields import HARDWARE_ID_RULE, is_hardware_id
from devices.people import access
from devices.people.scopes import DEVICES_WRITE
from devices.tenancy import sees_all

log = structlog.get_logger(__name__)
WINDOW_SECONDS = 3600
ADDRESS_FACTOR = 10
"""An address may guess so many times more often than one person: offices share one."""
MOST = 500
"""Codes made at once: a page of labels."""
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FORGIVEN = str.maketrans("OIL", "011", " -\t\r\n\u2010\u2011\u2013")
_LENGTH = 16


@sensitive_variables("code")
def make(claim: Claim, hardware_id: str, user: Any, now: datetime) -> tuple[ClaimCode, str]:
    """Make the code of one device. Returns its row and the code, which is shown once and kept nowhere.

    One that was revoked is made anew: its label was lost. Raises `DeviceError`: hardware_id (400), hardware_id_taken
    (409) where such a device has joined or is known already, code_made (409), and the claim's own refusals (409).
    """
    return make_many(claim, [hardware_id], user, now)[0]


@sensitive_variables("made", "code")
def make_many(claim: Claim, hardware_ids: Iterable[str], user: Any, now: datetime) -> list[tuple[ClaimCode, str]]:
    """All of them, or none. Raises as `make`, and too_many (400)."""
    wanted = list(dict.fromkeys(each.strip() for each in hardware_ids))
    if len(wanted) > MOST:
        raise DeviceError(f"At most {MOST} codes at once.", "too_many", 400)
    for hardware_id in wanted:
        if not is_hardware_id(hardware_id):
            raise DeviceError(f"{hardware_id[:50]!r}: {HARDWARE_ID_RULE}", "hardware_id", 400)
        _require_open(claim, hardware_id, now)
    same_type = Device.objects.filter(device_type_id=claim.device_type_id, hardware_id__in=wanted)
    _refuse(same_type.values_list("hardware_id", flat=True), "a device here already", "hardware_id_taken")
    try:
        with transaction.atomic():
            return _made(claim, wanted, user, now)
    except IntegrityError as error:
        raise DeviceError("Codes for these are being made right now.", "code_made", 409) from error


def _made(claim: Claim, wanted: list[str], user: Any, now: datetime) -> list[tuple[ClaimCode, str]]:
    rows = ClaimCode.objects.filter(claim__device_type_id=claim.device_type_id, hardware_id__in=wanted)
    _refuse(
        rows.exclude(revoked_at__isnull=False, claim=claim).values_list("hardware_id", flat=True),
        "given a code before",
        "code_made",
    )
    revoked = {row.hardware_id: row for row in rows.select_for_update(of=("self",))}
    made = []
    for hardware_id in wanted:
        code = _new_code()
        row = revoked.get(hardware_id) or ClaimCode(claim=claim, hardware_id=hardware_id)
        row.code_hash, row.revoked_at, row.created_by, row.created_at = _hash(code), None, user, now
        row.save()
        detail = {"hardware_id": hardware_id, "claim": claim.prefix}
        evidence.record("claim_code.made", tenant=claim.tenant, user=user, detail=detail)
        made.append((row, code))
    return made


@sensitive_variables("code")
def look(code: str, user: Any, now: datetime, *, address: str = "") -> ClaimCode:
    """What a code is for. To look is to guess: it counts. Raises as `redeem`, except for the tenant's sake."""
    counted = _count(user, address)
    row = ClaimCode.objects.select_related("claim__device_type", "claim__tenant", "device")
    found = row.filter(code_hash=_hash(code)).first()
    if found is None:
        raise DeviceError("There is no such code. Look again at each character.", "code_unknown", 404)
    _forget(counted)
    _require_unused(found)
    _require_open(found.claim, found.hardware_id, now)
    return found


@sensitive_variables("code")
def redeem(
    code: str, tenant: Tenant, user: Any, now: datetime, name: str = "", *, address: str = "", auth: Any = None
) -> Device:
    """Make the device of a code this tenant's. It is registered, and active as soon as it has enrolled.

    Raises `DeviceError`: permission_denied (403) for who may add no devices there, too_many_guesses (429), code_unknown
    (404), code_used, code_revoked, hardware_id_taken (409), and the refusals of the claim that it would join by (409).
    """
    if not may_redeem(user, tenant, auth):
        raise DeviceError("Only owners and operators add devices.", "permission_denied", 403)
    found = look(code, user, now, address=address)
    with transaction.atomic():
        row = ClaimCode.objects.select_for_update(of=("self",)).select_related("claim__device_type").get(pk=found.pk)
        _require_unused(row)
        device = lifecycle.register(
            tenant=tenant,
            device_type=row.claim.device_type,
            hardware_id=row.hardware_id,
            user=user,
            name=name.strip()[:200],
        )
        rows = ClaimCode.objects.filter(pk=row.pk, device__isnull=True, revoked_at__isnull=True)
        if not rows.update(device=device, redeemed_by=user, redeemed_at=now):
            raise _used()
        evidence.record("claim_code.redeemed", device=device, user=user, detail={"claim": row.claim.prefix})
    return device


def may_redeem(user: Any, tenant: Tenant, auth: Any = None) -> bool:
    """May this person add devices there? Staff by their permission, customers by their role."""
    if sees_all(user) and not user.has_perm("devices.add_device"):
        return False
    return access.may(user, DEVICES_WRITE, tenant.pk, auth)


def revoke(row: ClaimCode, reason: str, user: Any, now: datetime) -> bool:
    """End a code that nobody has redeemed. False when somebody has, or it was revoked before."""
    with transaction.atomic():
        rows = ClaimCode.objects.filter(pk=row.pk, device__isnull=True, revoked_at__isnull=True)
        changed = rows.update(revoked_at=now)
        if changed:
            detail = {"hardware_id": row.hardware_id, "claim": row.claim.prefix}
            evidence.record("claim_code.revoked", tenant=row.claim.tenant, user=user, reason=reason, detail=detail)
    return bool(changed)


@sensitive_variables("code")
def became(code: str, user: Any) -> Device | None:
    """The device of a code that was redeemed, if this person may see it."""
    return Device.objects.visible_to(user).filter(claim_code__code_hash=_hash(code)).first()


def is_unsold(claim: Claim, hardware_id: str) -> bool:
    """Must a device that comes with this claim wait for its owner?

    Where a claim has codes at all it admits by them only: a serial number that somebody made up waits for ever.
    """
    of_claim = ClaimCode.objects.filter(claim=claim)
    if of_claim.filter(hardware_id=hardware_id, device__isnull=False).exists():
        return False
    return of_claim.exists()


def is_sold(claim: Claim, device: Device) -> bool:
    """Is this the device that a code of the claim became, in whichever tenant?"""
    return ClaimCode.objects.filter(claim=claim, device=device).exists()


def state_of(row: ClaimCode) -> tuple[str, str]:
    """How a code stands, as a badge's colour and word."""
    if row.device_id:
        return "done", "Redeemed"
    return ("revoked", "Revoked") if row.revoked_at else ("waiting", "Not redeemed")


def in_state(state: str) -> Q:
    """The same as a condition."""
    redeemed, revoked = Q(device__isnull=False), Q(revoked_at__isnull=False)
    return {"done": redeemed, "revoked": revoked, "waiting": ~redeemed & ~revoked}.get(state, Q())


def normal(code: str) -> str:
    """A code as it is counted: capitals, no spaces or hyphens, O as 0, I and L as 1. Empty for what is none."""
    told = code[:100].upper().translate(_FORGIVEN)
    return told if len(told) == _LENGTH and set(told) <= set(_ALPHABET) else ""


def _new_code() -> str:
    told = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return "-".join(told[at : at + 4] for at in range(0, _LENGTH, 4))


def _hash(code: str) -> str:
    return hashlib.sha256(normal(code).encode()).hexdigest()


def _require_open(claim: Claim, hardware_id: str, now: datetime) -> None:
    refusal = claim.refusal(hardware_id, claim.device_type.slug, now)
    if refusal:
        raise DeviceError(f"This device could not join any more. {refusal[1]}", refusal[0], 409)


def _require_unused(row: ClaimCode) -> None:
    if row.device_id:
        raise _used()
    if row.revoked_at:
        raise DeviceError("This code was revoked: ask who sold you the device.", "code_revoked", 409)


def _used() -> DeviceError:
    return DeviceError("This code was used before.", "code_used", 409)


def _refuse(hardware_ids: Iterable[str], what: str, code: str) -> None:
    found = list(hardware_ids)
    if found:
        raise DeviceError(f"{', '.join(found[:5])}: {what}.", code, 409)


# --- guesses ---------------------------------------------------------------------------------------------------------
def _count(user: Any, address: str) -> list[str]:
    """Count a guess before it is judged, so that many at once are not all let through. Returns what was counted.

    A broken cache keeps nobody out: 80 bits are not guessed. Raises `DeviceError` (too_many_guesses, 429).
    """
    limits = {_key(f"user:{user.pk}"): settings.CLAIM_CODE_GUESSES}
    if address:
        limits[_key(f"from:{address}")] = settings.CLAIM_CODE_GUESSES * ADDRESS_FACTOR
    try:
        for key in limits:
            cache.add(key, 0, WINDOW_SECONDS)
        counts = [cache.incr(key) for key in limits]
    except (RedisError, ValueError):
        log.warning("guess_not_counted")
        return []
    if any(count > limit for count, limit in zip(counts, limits.values(), strict=True)):
        log.warning("guesses_throttled")
        raise DeviceError("Too many codes were wrong. Wait an hour and try again.", "too_many_guesses", 429)
    return list(limits)


def _forget(keys: list[str]) -> None:
    """Who knows a code did not guess."""
    try:
        for key in keys:
            cache.decr(key)
    except (RedisError, ValueError):
        log.warning("guess_not_forgotten")


def _key(text: str) -> str:
    """Hashed, as addresses are personal."""
    return "claim-code:" + hashlib.sha256(text.encode(errors="replace")).hexdigest()
