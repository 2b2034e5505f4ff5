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

from devices import authorities, evidence, pki
from devices.errors import ProvisioningError
from devices.models import Authority, Claim, DeviceType, Site, Tenant

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


def of_maker(certificate: x509.Certificate, device_type: str, now: datetime) -> Claim | None:
    """The claim for devices of the maker that signed this certificate, for a device type (empty: the only one).

    None when no maker with a claim has signed it, or it is not valid at `now`.
    """
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        return None
    makers = Authority.objects.filter(kind=Authority.Kind.MAKER, active=True, not_after__gt=now)
    signers = [row.pk for row in makers if _signed_by(certificate, row)]
    claims = Claim.objects.select_related("tenant", "device_type").filter(maker__in=signers, revoked_at__isnull=True)
    if device_type:
        claims = claims.filter(device_type__slug=device_type)
    found = list(claims.filter(expires_at__gt=now).order_by("-pk")[:2]) or list(claims.order_by("-pk")[:1])
    if len(found) > 1 and not device_type and found[0].device_type_id != found[1].device_type_id:
        raise ProvisioningError(
            "This maker's devices join by several claims: name the device type.", "claim_ambiguous", 409
        )
    return found[0] if found else None


def _signed_by(certificate: x509.Certificate, maker: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(maker.certificate.encode()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
