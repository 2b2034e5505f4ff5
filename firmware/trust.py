"""Trusted keys: whose signatures count, for what, and until when."""

import base64
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from devices import evidence
from devices.models import DeviceType
from firmware import files, signing
from firmware.errors import FirmwareError
from firmware.models import Campaign, Release, Signature, TrustedKey
from firmware.states import CampaignState

MAX_SIGNATURES = 10
"""Of one upload."""
_BLOCK = 1024 * 1024
_GOING = (CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.PAUSED)


@dataclass(frozen=True, slots=True)
class Voucher:
    """A signature of a release, and what is to be said against it."""

    key: TrustedKey
    against: str
    """For people; empty: it is good."""


def add_key(
    *, name: str, public_key: str, device_types: Any, not_before: datetime, not_after: datetime, user: Any
) -> TrustedKey:
    """Trust a public key (PEM). Raises `FirmwareError` (key_refused 400, key_known 409)."""
    try:
        read = signing.read_public_key(public_key)
    except signing.SigningError as error:
        raise FirmwareError(str(error), "key_refused", 400) from error
    if not_before >= not_after:
        raise FirmwareError("A key's validity ends after it begins.", "key_refused", 400)
    try:
        with transaction.atomic():
            key = TrustedKey.objects.create(
                name=name,
                algorithm=read.algorithm,
                public_key=read.pem,
                fingerprint=read.fingerprint,
                not_before=not_before,
                not_after=not_after,
                created_by=user,
            )
            key.device_types.set(device_types)
            scope = sorted(each.slug for each in device_types)
            detail = _told(key) | {"device_types": scope, "not_after": not_after.isoformat()}
            evidence.record("firmware_key.trusted", user=user, detail=detail)
    except IntegrityError as error:
        raise FirmwareError("This key is known already, or another has its name.", "key_known", 409) from error
    return key


def revoke_key(key: TrustedKey, user: Any, reason: str, now: datetime) -> bool:
    """Never believe it again; False when it was revoked before. Then pause what `affected` tells.

    Releases signed by no other key cannot start from now on. Waits for those that start at this moment.
    """
    with transaction.atomic():
        # Campaigns first, then the key: in this order whoever starts one takes them, too (hold).
        going = Campaign.objects.filter(state__in=_GOING, release__artifact__signatures__key=key).order_by("pk")
        list(going.select_for_update(of=("self",), no_key=True).values_list("pk", flat=True))
        changed = TrustedKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(
            revoked_at=now, revoked_by=user, reason=reason
        )
        if changed:
            evidence.record("firmware_key.revoked", user=user, reason=reason, detail=_told(key), at=now)
    key.refresh_from_db()
    return bool(changed)


def affected(key: TrustedKey) -> QuerySet[Campaign]:
    """Campaigns, scheduled, running or paused, that this key has signed for and nobody vouches for any more.

    Not those that lead back: the portal's permit says what a device may return to, and it had verified that once.
    """
    signed = Campaign.objects.filter(state__in=_GOING, release__artifact__signatures__key=key)
    unsigned = [
        campaign.pk
        for campaign in signed.select_related("release")
        if campaign.release and all(each.against for each in vouchers(campaign.release, None))
    ]
    return Campaign.objects.filter(pk__in=unsigned)


def hold(release: Release) -> None:
    """Until the end of the transaction nobody archives this release or revokes a key that signed it.

    Reads the release anew. Whoever has a campaign's row as well has taken that first.
    """
    release.state = Release.objects.select_for_update(no_key=True).values_list("state", flat=True).get(pk=release.pk)
    keys = TrustedKey.objects.filter(signatures__artifact__release=release).order_by("pk")
    list(keys.select_for_update(of=("self",), no_key=True).values_list("pk", flat=True))


def check_release(release: Release, now: datetime, *, approved: bool = False) -> list[str]:
    """Why a release cannot be trusted now, for people; empty: it can.

    Verifies the signatures anew, over the stored digest, by keys whose scope covers all its device types. `approved`:
    validity was judged then; only revocation counts now. The file must be in the store in its full length;
    `verify_stored` reads it, too.
    """
    artifact = getattr(release, "artifact", None)
    if artifact is None:
        return ["It has no file."]
    there = files.size(artifact.sha256) == artifact.size
    found = [] if there else ["Its file is missing from the store, or cut short."]
    judged = vouchers(release, None if approved else now)
    if not judged:
        return [*found, "Nobody has signed it."]
    if all(each.against for each in judged):
        found += [each.against for each in judged]
    return found


def vouchers(release: Release, now: datetime | None) -> list[Voucher]:
    """Each signature of a release, verified anew. Without `now` the validity of its key does not count."""
    artifact = release.artifact
    types = set(release.compatibilities.values_list("device_type_id", flat=True))
    rows = Signature.objects.filter(artifact=artifact).select_related("key").prefetch_related("key__device_types")
    message = signing.manifest(artifact.sha256, artifact.file_name)
    judged = []
    for row in rows.order_by("pk"):
        raw = base64.b64decode(row.signature)
        if signing.read_public_key(row.key.public_key).verify(raw, message):
            judged.append(Voucher(row.key, against(row.key, types, now)))
        else:
            judged.append(Voucher(row.key, f"The signature by “{row.key}” does not fit the file."))
    return judged


def verify_stored(release: Release) -> list[str]:
    """Read the whole stored file (about 2 s a gigabyte): why it is not the one that was signed; empty: it is.

    For approvals. What devices get, they check themselves.
    """
    try:
        file = files.open_file(release.artifact.sha256)
    except FirmwareError:
        return ["Its file is missing from the store."]
    digest = hashlib.sha256()
    try:
        with file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        return [f"Its file cannot be read: {error.strerror or 'the store is away'}."]
    return [] if digest.hexdigest() == release.artifact.sha256 else ["Its file in the store was changed or damaged."]


def require_some(signatures: Sequence[bytes]) -> None:
    """Before anything else is looked at. Raises `FirmwareError` (unsigned, signature_unknown: 400)."""
    if not signatures:
        raise FirmwareError("Nobody has signed this. Send a signature of a trusted key.", "unsigned", 400)
    if len(signatures) > MAX_SIGNATURES:
        raise FirmwareError(f"At most {MAX_SIGNATURES} signatures are taken.", "signature_unknown", 400)


def judge(
    sha256: str, file_name: str, signatures: Sequence[bytes], device_types: Collection[DeviceType], now: datetime
) -> dict[TrustedKey, bytes]:
    """The trusted keys behind signatures of something new, each with its signature (raw). Every one must be good.

    Raises `FirmwareError` (400): unsigned, signature_unknown, signature_revoked, signature_expired,
    signature_out_of_scope.
    """
    require_some(signatures)
    keys = [(key, signing.read_public_key(key.public_key)) for key in TrustedKey.objects.order_by("pk")]
    message = signing.manifest(sha256, file_name)
    types = {each.pk for each in device_types}
    found: dict[TrustedKey, bytes] = {}
    for signature in signatures:
        try:
            raw = signing.read_signature(signature)
        except signing.SigningError as error:
            raise FirmwareError(str(error), "signature_unknown", 400) from error
        key = next((row for row, read in keys if read.verify(raw, message)), None)
        if key is None:
            told = message.decode().strip()
            text = f"No trusted key has made this signature over “{told}” and a line feed."
            raise FirmwareError(text, "signature_unknown", 400)
        if reason := against(key, types, now):
            raise FirmwareError(reason, _code(key, now), 400)
        found[key] = raw
    return found


def valid_keys(now: datetime) -> list[TrustedKey]:
    """The keys that are not revoked and have not expired, those of the future too, with their device types."""
    rows = TrustedKey.objects.filter(revoked_at__isnull=True, not_after__gt=now)
    return list(rows.prefetch_related("device_types").order_by("name"))


def against(key: TrustedKey, types: Collection[int], now: datetime | None) -> str:
    """Why a key may not vouch for these device types (pks) at this moment; empty: it may. `now` None: at any."""
    if key.revoked_at:
        return f"The key “{key}” was revoked on {key.revoked_at:%Y-%m-%d}."
    if now and now < key.not_before:
        return f"The key “{key}” is valid from {key.not_before:%Y-%m-%d %H:%M} UTC."
    if now and now >= key.not_after:
        return f"The key “{key}” expired on {key.not_after:%Y-%m-%d}."
    scope = {each.pk for each in key.device_types.all()}
    if scope and not set(types) <= scope:
        return f"The key “{key}” may not sign for all of these device types."
    return ""


def _code(key: TrustedKey, now: datetime) -> str:
    if key.revoked_at:
        return "signature_revoked"
    return "signature_out_of_scope" if key.is_valid(now) else "signature_expired"


def _told(key: TrustedKey) -> dict[str, Any]:
    return {"key": key.name, "fingerprint": key.fingerprint, "algorithm": key.algorithm}
