"""A company with rows of every kind, as people see it."""

import json
from datetime import timedelta

from django.contrib.auth.models import Group as Role
from django.db import transaction
from django.utils import timezone

from devices import approvals, certificates, claims, evidence, pki, renewals, tokens
from devices.models import Approval, Device, Group, MaintenanceWindow, Presence, Site, Suppression, Tenant
from devices.registry import Incoming, Refused
from operations.models import CheckedKey, ConnectionMinute
from telemetry import deadletters, partitions
from telemetry.store import store
from tests.devices import peers
from tests.factories import DeviceFactory, DeviceTypeFactory, SchemaFactory, UserFactory
from tests.telemetry.messages import row

SCRIPT = "<script>alert(1)</script>"


def add(tenant: Tenant, number: int = 0) -> Device:
    """One more of everything in a tenant: a device of a type of its own, with all that can hang on it."""
    now = timezone.now()
    partitions.make_ahead(now)
    schema = SchemaFactory(device_type=DeviceTypeFactory())
    site = Site.objects.create(tenant=tenant, name=f"Site {number}")
    device = DeviceFactory(tenant=tenant, device_type=schema.device_type, site=site)
    group = Group.objects.create(tenant=tenant, name=f"Group {number}")
    device.groups.add(group)
    MaintenanceWindow.objects.create(group=group, weekdays="7", starts="02:00", minutes=60)
    claim = claims.of_token(peers.claim_token(tenant, device.device_type))
    certificates.issue(device, pki.read_request(peers.csr().encode()), now)
    approvals.seek(claim, SCRIPT, pki.read_request(peers.csr(subject=SCRIPT).encode()), Approval.Cause.CLAIM, now)
    renewals.request(Device.objects.filter(pk=device.pk), None, now)
    tokens.make(device, now)
    evidence.record("reported.log", device=device, detail={"text": SCRIPT}, actor=device.device_id)
    evidence.find("flood", f"Said {SCRIPT}", device_pk=device.pk, subject=f"s-{number}")
    soon = now + timedelta(days=1)
    Suppression.objects.create(kind="key_reused", device=device, subject=SCRIPT, reason=SCRIPT, expires_at=soon)
    CheckedKey.objects.create(certificate=device.certificates.get(), algorithm=SCRIPT, bits=1)
    ConnectionMinute.objects.create(minute=now - timedelta(minutes=number), accepted=1)
    Presence.objects.filter(device=device).update(
        online=number % 2 == 0, firmware_version=SCRIPT, agent=SCRIPT, boot_id=SCRIPT, last_seen_at=now, session=1
    )
    with transaction.atomic():
        store([row(device, schema, now - timedelta(minutes=1), extra=json.dumps({"note": SCRIPT}))])
    message = Incoming(f"/t/y/{device.device_id}/telemetry", SCRIPT.encode(), 1)
    deadletters.keep([Refused(message, "schema", f"no {SCRIPT}", "$", device.pk)], now)
    return device


def staff(role: str):
    """A person of a role."""
    user = UserFactory(is_staff=True)
    user.groups.add(Role.objects.get(name=role))
    return user
