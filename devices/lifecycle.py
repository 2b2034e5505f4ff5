"""The life of a device: registered, quarantined, released, decommissioned, replaced; each step with its evidence.

The door then has the device shut out or let in again (tasks.py): files first, then the live session.
"""

import secrets
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from devices import certificates, evidence
from devices.errors import DeviceError
from devices.models import Device, DeviceType, Presence, Site, Tenant
from devices.models.fields import HARDWARE_ID_RULE, is_hardware_id

_ID_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without 0 o 1 i l: people read device ids aloud


def register(
    *,
    tenant: Tenant,
    device_type: DeviceType,
    hardware_id: str,
    user: Any,
    name: str = "",
    site: Site | None = None,
    reason: str = "",
) -> Device:
    """Make a device known before it first speaks. It joins when it enrols with a claim, or first uses a token.

    Raises `DeviceError`: hardware_id (400) for what is none, site_of_another (409), hardware_id_taken (409) when one
    of this type has it, also where both came at once: the database insists.
    """
    if not is_hardware_id(hardware_id):
        raise DeviceError(HARDWARE_ID_RULE, "hardware_id", 400)
    if site is not None and site.tenant_id != tenant.pk:
        raise DeviceError(f"{site} belongs to another tenant.", "site_of_another", 409)
    try:
        with transaction.atomic():
            device = Device.objects.create(
                device_id=new_device_id(),
                tenant=tenant,
                device_type=device_type,
                hardware_id=hardware_id,
                name=name or first_name(device_type, hardware_id),
                site=site,
                state=Device.State.REGISTERED,
            )
            Presence.objects.create(device=device)
            told = {"hardware_id": hardware_id}
            evidence.record("device.registered", device=device, user=user, reason=reason, detail=told)
    except IntegrityError as error:
        raise DeviceError("A device of this type has this hardware id already.", "hardware_id_taken", 409) from error
    return device


def first_name(device_type: DeviceType, hardware_id: str) -> str:
    """What a device is called until somebody names it."""
    return f"{device_type.name} {hardware_id}"[:200]


def quarantine(device: Device, reason: str, user: Any) -> bool:
    """Leave a suspect device only `status` and `cmd`. False when it was not active."""
    return _move(device, [Device.State.ACTIVE], Device.State.QUARANTINED, "device.quarantined", reason, user)


def release(device: Device, reason: str, user: Any) -> bool:
    """End a quarantine. False when there was none."""
    return _move(device, [Device.State.QUARANTINED], Device.State.ACTIVE, "device.released", reason, user)


def decommission(device: Device, reason: str, user: Any, now: datetime) -> bool:
    """End a device's life for good and revoke what it holds; its evidence stays. False when it had ended before."""
    alive = [Device.State.REGISTERED, Device.State.ACTIVE, Device.State.QUARANTINED]
    with transaction.atomic():
        if not _move(device, alive, Device.State.DECOMMISSIONED, "device.decommissioned", reason, user):
            return False
        for certificate in device.certificates.filter(revoked_at__isnull=True, not_after__gt=now):
            certificates.revoke(certificate, reason, user, now)
        device.tokens.filter(revoked_at__isnull=True).update(revoked_at=now, reason=reason)
    return True


def replace(old: Device, hardware_id: str, reason: str, user: Any, now: datetime) -> Device:
    """Put new hardware in an old device's place (RMA): name, site, groups, and the link to its history.

    The new hardware may have enrolled already, or is registered here and joins when it enrols with a claim. The old
    device is decommissioned. Raises `DeviceError`: device_not_active (409) when the old one has ended, hardware_id
    (400), hardware_id_taken (409) when the new one is another tenant's, has a past of its own, or is the old one.
    """
    hardware_id = hardware_id.strip()
    with transaction.atomic():
        old = Device.objects.select_for_update(of=("self",)).select_related("tenant", "device_type").get(pk=old.pk)
        if old.state == Device.State.DECOMMISSIONED:
            raise DeviceError("This device was decommissioned before.", "device_not_active", 409)
        new = _successor(old, hardware_id, user)
        new.name, new.site_id, new.replaces = old.name, old.site_id, old
        try:
            with transaction.atomic():
                new.save()
        except IntegrityError as error:
            raise DeviceError("Another device has taken this place already.", "hardware_id_taken", 409) from error
        new.groups.set(old.groups.all())
        detail = {"old": old.device_id, "new": new.device_id, "hardware_id": hardware_id}
        evidence.record("device.replaced", device=old, user=user, reason=reason, detail=detail)
        evidence.record("device.replaces", device=new, user=user, reason=reason, detail=detail)
        decommission(old, reason, user, now)
    return new


def _successor(old: Device, hardware_id: str, user: Any) -> Device:
    new = (
        Device.objects.select_for_update(of=("self",))
        .filter(device_type=old.device_type, hardware_id=hardware_id)
        .first()
    )
    if new is None:
        return register(tenant=old.tenant, device_type=old.device_type, hardware_id=hardware_id, user=user)
    usable = new.state in {Device.State.REGISTERED, Device.State.ACTIVE} and new.replaces_id is None
    if new.pk == old.pk or new.tenant_id != old.tenant_id or not usable:
        raise DeviceError(f"{hardware_id!r} cannot take this device's place.", "hardware_id_taken", 409)
    return new


def new_device_id() -> str:
    """A fresh device id; what it is made of is easy to read aloud."""
    return "d-" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(12))


def _move(device: Device, before: list[Device.State], after: Device.State, kind: str, reason: str, user: Any) -> bool:
    with transaction.atomic():
        changed = Device.objects.filter(pk=device.pk, state__in=before).update(state=after)
        if changed:
            evidence.record(kind, device=device, user=user, reason=reason)
    return bool(changed)
