"""Claims: bootstrap credentials. Made here, shown once, and found again by what a device presents."""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from django.db import transaction
from django.db.models import Case, Exists, F, IntegerField, OuterRef, Q, Value, When

from devices import authorities, evidence, pki
from devices.errors import ProvisioningError
from devices.models import Authority, Claim, Device, DeviceType, Site, Tenant
from devices.models.fields import is_hardware_id

TOKEN_PREFIX = "fpc_"  # noqa: S105 (how a claim token is recognised, by us and by secret scanners)
_PREFIX_LENGTH = 12
_ID_PREFIX = {Claim.Kind.CERTIFICATE: "fpk_", Claim.Kind.MAKER: "fpm_"}


def make_claim(
    *,
    tenant: Tenant,
    device_type: DeviceType,
    name: str,
    max_devices: int,
    lifetime: timedelta,
    now: datetime,
    kind: str = Claim.Kind.TOKEN,
    maker: Authority | None = None,
    approve_by_hand: bool = False,
    user: Any = None,
    site: Site | None = None,
    hardware_ids: list[str] | None = None,
) -> tuple[Claim, str]:
    """Make a claim. Returns it with its secret, which is shown once and kept nowhere.

    The secret is a token, or the PEM of a key with its claim certificate; a maker's claim has none.
    """
    claim = Claim(
        kind=kind,
        tenant=tenant,
        device_type=device_type,
        name=name,
        site=site,
        maker=maker,
        approve_by_hand=approve_by_hand,
        max_devices=max_devices,
        hardware_ids=hardware_ids or [],
        expires_at=now + lifetime,
        created_by=user,
    )
    with transaction.atomic():
        secret = _credential(claim, lifetime, now)
        claim.save()
        detail = {"claim": claim.prefix, "devices": max_devices, "kind": str(kind)}
        evidence.record("claim.made", tenant=tenant, user=user, detail=detail)
    return claim, secret


def revoke(claim: Claim, reason: str, user: Any, now: datetime) -> bool:
    """Let no further device join by it; those that have joined stay. False when it was revoked before."""
    with transaction.atomic():
        changed = Claim.objects.filter(pk=claim.pk, revoked_at__isnull=True).update(revoked_at=now)
        if changed:
            detail = {"claim": claim.prefix}
            evidence.record("claim.revoked", tenant=claim.tenant, user=user, reason=reason, detail=detail)
    return bool(changed)


def _credential(claim: Claim, lifetime: timedelta, now: datetime) -> str:
    """Give a claim what it is recognised by; returns what the device gets."""
    if claim.kind == Claim.Kind.TOKEN:
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        claim.prefix, claim.token_hash = token[:_PREFIX_LENGTH], _hash(token)
        return token
    claim.prefix = _ID_PREFIX[Claim.Kind(claim.kind)] + secrets.token_hex(4)
    if claim.kind == Claim.Kind.MAKER:
        return ""
    ca = authorities.signer(Authority.Kind.CLAIM)
    key = pki.new_key()
    leaf = pki.sign_device(claim.prefix, key.public_key(), ca.certificate, ca.key, lifetime, now)
    claim.certificate, claim.fingerprint = pki.pem(leaf), leaf.fingerprint(hashes.SHA256()).hex()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return text.decode() + claim.certificate


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def of_token(token: str) -> Claim:
    """The claim of a token, compared in constant time. Raises `ProvisioningError` (claim_unknown, 401)."""
    claim = (
        Claim.objects.select_related("tenant", "device_type")
        .filter(prefix=token[:_PREFIX_LENGTH], kind=Claim.Kind.TOKEN)
        .first()
        if token.startswith(TOKEN_PREFIX) and "\0" not in token
        else None
    )
    expected = claim.token_hash if claim else "0" * 64
    if not hmac.compare_digest(_hash(token), expected) or claim is None:
        raise ProvisioningError("This claim is not known.", "claim_unknown", 401)
    return claim


def of_certificate(certificate: x509.Certificate) -> Claim | None:
    """The claim of a claim certificate, whose key the caller has proven; None when it is not one."""
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    return Claim.objects.select_related("tenant", "device_type").filter(fingerprint=fingerprint).first()


# --- devices born with a certificate --------------------------------------------------------------------------------
_KNOWN, _KNOWN_ELSEWHERE, _LISTED, _ANY, _OTHERS = range(5)
"""Whose device it is, the surest sign first: its tenant has it already (by a claim that admits it, or only by one that
lists others), a list names it, there is no list, a list names others."""
_OPEN, _USED_UP, _EXPIRED = range(3)


def of_maker(certificate: x509.Certificate, device_type: str, hardware_id: str, now: datetime) -> Claim | None:
    """The claim for the device with this maker's certificate, of a device type (empty: of the only one).

    Several tenants may have devices of one maker: first comes the tenant that has this hardware id already, then who
    lists it, then who lists none; of the same, one that is open, then the newest. What admits nobody any more, or
    others only, is returned where there is nothing better: the device hears why. None when no maker with a claim has
    signed the certificate, or it is not valid at `now`. Raises `ProvisioningError` (claim_ambiguous, 409) rather than
    guess between tenants, or between device types.
    """
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        return None
    makers = Authority.objects.filter(kind=Authority.Kind.MAKER, active=True, not_after__gt=now)
    signers = [row.pk for row in makers if _signed_by(certificate, row)]
    named = Q(device_type__slug=device_type) if device_type else Q()
    claims = Claim.objects.filter(named, maker__in=signers, revoked_at__isnull=True).annotate(
        sign=_sign(hardware_id if is_hardware_id(hardware_id) else ""), closed=_closed(now)
    )
    best = claims.order_by("sign", "closed", "-pk").values("pk", "sign", "closed", "tenant", "device_type").first()
    if best is None:
        return None
    sign, closed = best["sign"], best["closed"]
    same = Q(tenant=best["tenant"], device_type=best["device_type"])
    admits = sign in (_KNOWN, _LISTED, _ANY) and closed != _EXPIRED
    if admits and claims.filter(~same, sign=sign, closed=closed).exists():
        raise _ambiguous(device_type)
    # Whose it is, a list has said: another claim of the same tenant may have room.
    rows = claims.filter(same, sign__lte=_ANY) if sign == _LISTED else claims.filter(pk=best["pk"])
    return rows.select_related("tenant", "device_type").order_by("closed", "sign", "-pk").first()


def _sign(hardware_id: str) -> Case:
    """Judged by the database, as `_closed` is: a list may be long, and a maker's claims many."""
    device = Device.objects.filter(
        hardware_id=hardware_id, tenant=OuterRef("tenant"), device_type=OuterRef("device_type")
    )
    listed, unlisted = Q(hardware_ids__contains=[hardware_id]), Q(hardware_ids=[])
    return Case(
        When(Exists(device) & (listed | unlisted), then=Value(_KNOWN)),
        When(Exists(device), then=Value(_KNOWN_ELSEWHERE)),
        When(listed, then=Value(_LISTED)),
        When(unlisted, then=Value(_ANY)),
        default=Value(_OTHERS),
        output_field=IntegerField(),
    )


def _closed(now: datetime) -> Case:
    return Case(
        When(expires_at__lte=now, then=Value(_EXPIRED)),
        When(uses__gte=F("max_devices"), then=Value(_USED_UP)),
        default=Value(_OPEN),
        output_field=IntegerField(),
    )


def _ambiguous(device_type: str) -> ProvisioningError:
    lists = "staff must add allow-lists of hardware ids to them"
    text = (
        f"Claims of several tenants admit this maker's devices: {lists}."
        if device_type
        else f"This maker's devices join by several claims: name the device type, or {lists}."
    )
    return ProvisioningError(text, "claim_ambiguous", 409)


def _signed_by(certificate: x509.Certificate, maker: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(maker.certificate.encode()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
