"""Whether a device may install what it is offered. Pure; the answer is a reason code of reports, or nothing."""

from __future__ import annotations

from agent.update_messages import Seen
from agent.update_state import Build
from devices.contract import Image, Offer, Preconditions
from firmware.signing import PublicKey, SigningError, manifest, permit_statement, read_signature
from firmware.versions import is_older, is_version

POWER, SPACE = "power", "space"
"""Why a device waits, as reports say it."""


def refusal(offer: Offer, version: str, build: Build) -> str:
    """Why a device that runs `version` refuses an open offer for good, as far as it can tell before the download."""
    if offer.image is None or not is_version(offer.version):
        return "incompatible"
    if offer.version == version:
        return "already_installed"
    if build.device_type not in offer.device_types or (offer.min_version and is_older(version, offer.min_version)):
        return "incompatible"
    if is_older(offer.version, version) and not _permitted(offer, offer.image, version, build):
        return "anti_rollback"
    if not is_signed(offer.image, build):
        return "signature"
    return "too_large" if offer.image.size > build.capacity else ""


def is_signed(image: Image, build: Build) -> bool:
    """Did one of the keys the device was built with sign exactly this file?"""
    statement = manifest(image.sha256, image.file_name)
    return any(_is_good(build.firmware_keys.get(one.key), one.signature, statement) for one in image.signatures)


def lack(wanted: Preconditions, seen: Seen, missing: int) -> str:
    """What the device lacks before it may go on: power, space, or nothing. `missing`: bytes still to be fetched."""
    if seen.battery_percent < wanted.battery_percent or (wanted.mains and not seen.mains):
        return POWER
    return SPACE if seen.free_bytes < max(wanted.free_bytes, missing) else ""


def _permitted(offer: Offer, image: Image, version: str, build: Build) -> bool:
    permit, key = offer.rollback, build.permit_key
    if permit is None or key is None or permit.key != key.fingerprint or permit.from_version != version:
        return False
    statement = permit_statement(build.device_id, str(offer.update_id), version, offer.version, image.sha256)
    return _is_good(key, permit.signature, statement)


def _is_good(key: PublicKey | None, signature: str, statement: bytes) -> bool:
    if key is None:
        return False
    try:
        return key.verify(read_signature(signature.encode()), statement)
    except SigningError:
        return False
