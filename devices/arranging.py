"""Putting devices in order: tags, groups, places. Each change of a device is a line of its own evidence."""

from typing import Any

from django.db import transaction

from devices import evidence
from devices.models import Device, Group, Site

MAX_TAGS = 20


def add_tag(device: Device, tag: str, reason: str, user: Any) -> bool:
    """Give a device a tag. False where it has it, or has as many as somebody can read."""
    return _tags(device, lambda tags: tags | {tag}, reason, user)


def remove_tag(device: Device, tag: str, reason: str, user: Any) -> bool:
    """Take a tag from a device. False where it has none such."""
    return _tags(device, lambda tags: tags - {tag}, reason, user)


@transaction.atomic
def put_in(device: Device, group: Group, reason: str, user: Any) -> bool:
    """Put a device in a group of its tenant. False where it is in it, or the group is another tenant's."""
    if group.tenant_id != device.tenant_id or device.groups.filter(pk=group.pk).exists():
        return False
    device.groups.add(group)
    _tell("device.put_in_group", device, reason, user, {"group": str(group)})
    return True


@transaction.atomic
def take_out(device: Device, group: Group, reason: str, user: Any) -> bool:
    """Take a device out of a group. False where it is not in it."""
    if not device.groups.filter(pk=group.pk).exists():
        return False
    device.groups.remove(group)
    _tell("device.taken_out_of_group", device, reason, user, {"group": str(group)})
    return True


@transaction.atomic
def move(device: Device, site: Site, reason: str, user: Any) -> bool:
    """Move a device to a site of its tenant. False where it is there, or the site is another tenant's."""
    if site.tenant_id != device.tenant_id:
        return False
    row = Device.objects.select_for_update(of=("self",)).select_related("site").get(pk=device.pk)
    if row.site_id == site.pk:
        return False
    Device.objects.filter(pk=device.pk).update(site=site)
    before = str(row.site) if row.site else None
    _tell("device.moved", device, reason, user, {"changes": {"site": {"before": before, "after": str(site)}}})
    return True


@transaction.atomic
def _tags(device: Device, change: Any, reason: str, user: Any) -> bool:
    row = Device.objects.select_for_update(of=("self",)).only("tags").get(pk=device.pk)
    before, after = sorted(row.tags), sorted(change(set(row.tags)))
    if after == before or len(after) > MAX_TAGS:
        return False
    Device.objects.filter(pk=device.pk).update(tags=after)
    _tell("device.tagged", device, reason, user, {"changes": {"tags": {"before": before, "after": after}}})
    return True


def _tell(kind: str, device: Device, reason: str, user: Any, detail: dict[str, Any]) -> None:
    evidence.record(kind, device=device, user=user, reason=reason, detail=detail)
