"""A company with rows of every kind, as people see it."""

import json
from datetime import timedelta

from django.contrib.auth.models import Group as Role
from django.db import transaction
from django.utils import timezone

from devices import approvals, certificates, claims, evidence, pki, renewals, tokens
from devices.models import Approval, Device, Group, MaintenanceWindow, Presence, Site, Suppression, Tenant
from devices.registry import Incoming, Refused
from firmware.models import Hold, Report, Ring, Stop, Update, UploadToken, Verdict, Verified
from operations.models import CheckedKey, ConnectionMinute
from telemetry.refused import deadletters
from telemetry.store import store
from telemetry.tables import partitions
from tests.devices import peers
from tests.devices.people import rows as people
from tests.factories import DeviceFactory, DeviceTypeFactory, SchemaFactory, UserFactory, member
from tests.firmware import fleet
from tests.telemetry import rows as telemetry_rows
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
    person = member(tenant)
    people.add_all(tenant, person, now, SCRIPT)
    people.sell(device, claim, person, now)
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
    telemetry_rows.add_all(device, schema, now, SCRIPT)
    roll_out(device, group, number)
    return device


def roll_out(device: Device, group: Group, number: int = 0) -> Update:
    """One more of everything about firmware, with this device in it: a campaign that it failed in."""
    now = timezone.now()
    release = fleet.release(
        "2.0.0", device.device_type, key=f"key {number % 2}", notes=SCRIPT, created_by=UserFactory()
    )
    release.tenants.add(device.tenant)
    ring = Ring.objects.create(name=f"{SCRIPT} {device.pk}", order=device.pk % 30_000)
    ring.groups.add(group)
    campaign = fleet.campaign(release, name=f"{SCRIPT} {device.pk}", notes=SCRIPT, ring=ring, state_reason=SCRIPT)
    failed = {"reason_code": SCRIPT, "detail": SCRIPT, "from_version": SCRIPT, "ended_at": now, "needs_attention": True}
    (update,) = fleet.offered(campaign, [device], "failed", waiting="", **failed)
    Report.objects.create(
        update=update, at=now, attempt=1, seq=1, state=SCRIPT, reason_code=SCRIPT, firmware_version=SCRIPT,
        boot_id=SCRIPT, applied=True,
    )  # fmt: skip
    Verified.objects.create(device=device, version=SCRIPT, release=release, verified_at=now)
    Hold.objects.create(device=device, kind="version", version="2.0.0", update=update, reason=SCRIPT)
    told = {"gate": "error_rate", "action": "pause", "text": SCRIPT, "figures": {"note": SCRIPT}, "user": SCRIPT}
    Verdict.objects.create(campaign=campaign, stage=1, **told)
    token = UploadToken.objects.create(name=SCRIPT, prefix=f"fpu_{device.pk}", token_hash="h", expires_at=now)
    token.device_types.add(device.device_type)
    user = UserFactory()
    Stop.objects.create(started_by=user, reason=SCRIPT, ended_at=now, ended_by=user)
    return update


def staff(role: str):
    """A person of a role."""
    user = UserFactory(is_staff=True)
    user.groups.add(Role.objects.get(name=role))
    return user
