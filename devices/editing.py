"""What people decide of a device: its name, its place, its tags. Changed by whoever saw what they change."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from django.db import transaction

from devices import contract, evidence
from devices.errors import DeviceError
from devices.models import Device, Site

MOST_TAGS = 20
_TAG_RULE = "a tag has lower-case letters, digits, - and _, at most 63"


def version(device: Device) -> str:
    """Of what can be edited: another one as soon as somebody has changed any of it."""
    told = json.dumps([device.name, device.site_id, device.tags])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def tags_of(text: str) -> list[str]:
    """Tags as people type them, between commas or spaces, each once."""
    return list(dict.fromkeys(text.replace(",", " ").lower().split()))


def edit(device: Device, user: Any, seen: str, *, name: str, site: Site | None, tags: Iterable[str]) -> Device:
    """Change all three. The door has asked whether this person may.

    `seen` is the version that they looked at. Raises `DeviceError`: changed_meanwhile, site_of_another (409), name, tag
    (400).
    """
    name, tags = " ".join(name.split()), list(dict.fromkeys(tags))
    if len(name) > 200 or "\0" in name:
        raise DeviceError("A name has at most 200 characters.", "name", 400)
    wrong = next((tag for tag in tags if not contract.is_part(tag)), None)
    if wrong is not None:
        raise DeviceError(f"{wrong[:70]!r}: {_TAG_RULE}.", "tag", 400)
    if len(tags) > MOST_TAGS:
        raise DeviceError(f"At most {MOST_TAGS} tags.", "tag", 400)
    with transaction.atomic():
        row = Device.objects.select_for_update(of=("self",), no_key=True).select_related("tenant").get(pk=device.pk)
        if version(row) != seen:
            raise DeviceError("Somebody else has changed it since you looked.", "changed_meanwhile", 409)
        if site is not None and site.tenant_id != row.tenant_id:
            raise DeviceError(f"{site} belongs to another tenant.", "site_of_another", 409)
        before = {"name": row.name, "site": row.site_id, "tags": row.tags}
        after = {"name": name, "site": site.pk if site else None, "tags": tags}
        changes = {key: [before[key], after[key]] for key in after if before[key] != after[key]}
        if changes:
            row.name, row.site, row.tags = name, site, tags
            row.save(update_fields=["name", "site", "tags"])
            evidence.record("device.edited", device=row, user=user, detail={"changes": changes})
    return row
