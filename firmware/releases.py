"""Releases: how they come in, and how they are put away."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import DatabaseError, IntegrityError, transaction

from devices import evidence
from devices.models import Device, DeviceType, Tenant
from firmware import artifacts, sboms, trust
from firmware.errors import FirmwareError
from firmware.models import Artifact, Campaign, Compatibility, Release, Signature, TrustedKey, Update, Verified
from firmware.models.release import FILE_NAME
from firmware.states import ACTIVE, UNDER_WAY, CampaignState
from firmware.versions import Version, VersionError, is_version

_FILE_NAME = re.compile(FILE_NAME)
_SBOM_NAMES = {sboms.CYCLONEDX: "sbom.cdx.json", sboms.SPDX: "sbom.spdx.json"}


@dataclass(frozen=True, slots=True)
class Draft:
    """What is told of a new release."""

    version: str
    device_types: Sequence[DeviceType]
    file_name: str
    min_version: str = ""
    notes: str = ""
    tenants: Sequence[Tenant] = ()
    min_battery_percent: int = 0
    needs_mains: bool = False
    min_free_bytes: int = 0
    sbom_name: str = ""


class AlreadyThereError(FirmwareError):
    """The same version with the same file is there for the same device types: nothing was to be done."""

    def __init__(self, release: Release) -> None:
        super().__init__(f"Release {release.version} with this file is there already.", "already_there", 409)
        self.release = release


def upload(
    draft: Draft,
    chunks: Iterable[bytes],
    signatures: Sequence[bytes],
    now: datetime,
    *,
    names: Sequence[str] = (),
    sbom: bytes = b"",
    user: Any = None,
    uploaded_by: str = "",
) -> Release:
    """Store, verify, keep: all or nothing. At least one signature must be a trusted key's, and every one must be good.

    `names`: what the signatures are called where one is refused, in the same order.

    Raises `AlreadyThereError` for the same release again, and `FirmwareError`: version_taken (409); version_invalid,
    min_version_invalid, file_name, device_types_missing, empty, sbom_invalid, unsigned, signature_unknown,
    signature_revoked, signature_expired, signature_out_of_scope (400); too_large (413); store_unavailable (503).
    """
    _check(draft)
    sbom_name = _sbom_name(draft, sbom)
    trust.require_some(signatures)
    with ExitStack() as stack:
        arrived = stack.enter_context(artifacts.arriving(chunks, limit=settings.MAX_ARTIFACT_BYTES))
        if not arrived.stored.size:
            raise FirmwareError("The file is empty.", "empty", 400)
        _refuse_known(draft, arrived.stored.sha256)
        by = _judged(arrived.stored.sha256, draft, signatures, names, now)
        arrivals = [arrived]
        if sbom:
            arrivals.append(stack.enter_context(artifacts.arriving([sbom], limit=sboms.MAX_BYTES)))
        try:
            with transaction.atomic():
                for each in sorted(arrivals, key=lambda each: each.stored.sha256):  # one order: no deadlock
                    each.keep()
                release = Release.objects.create(
                    version=draft.version,
                    min_version=draft.min_version,
                    notes=draft.notes,
                    min_battery_percent=draft.min_battery_percent,
                    needs_mains=draft.needs_mains,
                    min_free_bytes=draft.min_free_bytes,
                    sbom_name=sbom_name,
                    sbom_sha256=arrivals[1].stored.sha256 if sbom else "",
                    created_by=user,
                    uploaded_by=uploaded_by,
                )
                _write(release, draft, arrived.stored, by)
                actor = uploaded_by or "portal"
                evidence.record("release.uploaded", user=user, actor=actor, detail=_told(release, by), at=now)
        except BaseException as error:
            with suppress(DatabaseError):  # the sweep does it, once the database is back
                for each in arrivals:
                    artifacts.forget(each.stored.sha256)
            if isinstance(error, IntegrityError):
                _refuse_known(draft, arrived.stored.sha256)  # somebody was first
            raise
    return release


def _judged(
    sha256: str, draft: Draft, signatures: Sequence[bytes], names: Sequence[str], now: datetime
) -> dict[TrustedKey, bytes]:
    """The keys behind the signatures. A refusal says which one is meant, where there are several."""
    try:
        return trust.judge(sha256, draft.file_name, signatures, draft.device_types, now)
    except FirmwareError:
        for number, signature in enumerate(signatures):
            try:
                trust.judge(sha256, draft.file_name, [signature], draft.device_types, now)
            except FirmwareError as error:
                name = names[number] if number < len(names) else f"Signature {number + 1}"
                text = f"{name}: {error.detail}" if names or len(signatures) > 1 else error.detail
                raise FirmwareError(text, error.code, error.status) from error
        raise


def archive(release: Release, user: Any, reason: str, now: datetime) -> bool:
    """Take it out of use; its file stays. False when it was archived before.

    Raises `FirmwareError` (in_use) while a campaign with it is scheduled or under way, and while a device runs it or
    may need it back.
    """
    with transaction.atomic():
        # Who starts a campaign locks the release, too: one of the two comes first.
        release = Release.objects.select_for_update(of=("self",)).get(pk=release.pk)
        if use := in_use(release):
            raise FirmwareError(f"Release {release.version} is in use: {use}.", "in_use")
        changed = Release.objects.filter(pk=release.pk, state=Release.State.READY).update(state=Release.State.ARCHIVED)
        if changed:
            detail = {"release": release.pk, "version": release.version}
            evidence.record("release.archived", user=user, reason=reason, detail=detail, at=now)
    return bool(changed)


def in_use(release: Release) -> str:
    """What keeps a release from being archived, for people; empty: nothing."""
    going = Campaign.objects.filter(state__in=[CampaignState.SCHEDULED, *UNDER_WAY], release=release).first()
    if going:
        return f"the campaign “{going}” is {going.get_state_display().lower()}"
    rows = Update.objects.filter(state__in=ACTIVE, offered_at__isnull=False)
    if rows.filter(release=release).exists():
        return "devices are being led to it"
    if Update.objects.filter(campaign__state__in=UNDER_WAY, fallback=release).exists():
        return "devices of a campaign under way may have to go back to it"
    running = Verified.objects.filter(release=release).exclude(device__state=Device.State.DECOMMISSIONED)
    if found := running.select_related("device").first():
        return f"devices run it, such as {found.device}"
    return ""


def _check(draft: Draft) -> None:
    try:
        version = Version(draft.version)
    except VersionError as error:
        raise FirmwareError(f"{error}.", "version_invalid", 400) from error
    if draft.min_version:
        if not is_version(draft.min_version):
            text = "The oldest version it may be installed over is not a semantic version."
            raise FirmwareError(text, "min_version_invalid", 400)
        if version < Version(draft.min_version):
            text = "The oldest version it may be installed over is newer than the release itself."
            raise FirmwareError(text, "min_version_invalid", 400)
    for name in filter(None, (draft.file_name, draft.sbom_name)):
        if not _FILE_NAME.fullmatch(name):
            raise FirmwareError(_NAME_RULE, "file_name", 400)
    if not draft.file_name:
        raise FirmwareError(_NAME_RULE, "file_name", 400)
    if not draft.device_types:
        raise FirmwareError("Say which device types it is made for.", "device_types_missing", 400)


_NAME_RULE = "A file name has at most 100 letters, digits and ._+- and begins with a letter or digit."


def _sbom_name(draft: Draft, sbom: bytes) -> str:
    if not sbom:
        return ""
    try:
        usual = _SBOM_NAMES[sboms.kind(sbom)]
    except sboms.SbomError as error:
        raise FirmwareError(str(error), "sbom_invalid", 400) from error
    return draft.sbom_name or usual


def _refuse_known(draft: Draft, sha256: str) -> None:
    """Raise `AlreadyThereError` or `FirmwareError` (version_taken) where a release of this version is there."""
    types = {each.pk for each in draft.device_types}
    rows = Compatibility.objects.filter(version=draft.version, device_type__in=types)
    known = list(Release.objects.filter(pk__in=rows.values("release")).select_related("artifact"))
    if not known:
        return
    made_for = set(known[0].compatibilities.values_list("device_type_id", flat=True))
    artifact = getattr(known[0], "artifact", None)
    if (
        artifact
        and len(known) == 1
        and made_for == types
        and (artifact.sha256, artifact.file_name) == (sha256, draft.file_name)
    ):
        raise AlreadyThereError(known[0])
    text = f"Version {draft.version} is there already, with another file or for other device types. Take the next one."
    raise FirmwareError(text, "version_taken")


def _write(release: Release, draft: Draft, stored: artifacts.Stored, by: Mapping[TrustedKey, bytes]) -> None:
    """What hangs on a release."""
    Compatibility.objects.bulk_create(
        Compatibility(release=release, device_type=each, version=release.version) for each in draft.device_types
    )
    release.tenants.set(draft.tenants)
    artifact = Artifact.objects.create(
        release=release,
        file_name=draft.file_name,
        size=stored.size,
        sha256=stored.sha256,
        sha1=stored.sha1,
        md5=stored.md5,
    )
    Signature.objects.bulk_create(
        Signature(artifact=artifact, key=key, signature=base64.b64encode(raw).decode()) for key, raw in by.items()
    )


def _told(release: Release, by: Mapping[TrustedKey, bytes]) -> dict[str, Any]:
    types = release.compatibilities.order_by("device_type__slug").values_list("device_type__slug", flat=True)
    return {
        "release": release.pk,
        "version": release.version,
        "device_types": list(types),
        "sha256": release.artifact.sha256,
        "keys": [key.fingerprint for key in by],
    }
