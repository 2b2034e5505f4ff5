"""Fleets for this room's tests: signed releases, campaigns with their rows, many devices at once, their reports."""

import base64
import contextlib
import functools
import hashlib
import time
from datetime import timedelta
from itertools import count

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.cache import cache
from django.utils import timezone

from devices.contract import UpdateReport
from devices.models import Device, Presence
from firmware import artifacts, ordering, signing
from firmware.models import Artifact, Campaign, Compatibility, Release, Signature, Stage, TrustedKey, Update
from tests.factories import DeviceTypeFactory, StaffFactory, TenantFactory

NOW = timezone.now()
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PERCENTS = (1, 5, 10, 25, 100)
BOOT, NEXT_BOOT = "boot-1", "boot-2"
"""The boot of a device as `devices` makes it, and the one after an installation."""
_LARGEST = 2**40
_numbers = count(1)


# --- keys and releases ----------------------------------------------------------------------------------------------


@functools.cache
def private_key(name="build server"):
    """The signing key of this name: one for the process."""
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(name="build server"):
    """PEM of its public half."""
    public = private_key(name).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def trusted_key(name="build server", **fields):
    """The row that trusts it."""
    read = signing.read_public_key(public_pem(name))
    usual = {"name": name, "algorithm": read.algorithm, "public_key": read.pem}
    usual |= {"not_before": NOW - 30 * DAY, "not_after": NOW + 300 * DAY} | fields
    return TrustedKey.objects.get_or_create(fingerprint=read.fingerprint, defaults=usual)[0]


def sign(sha256, file_name, name="build server"):
    """A detached signature (DER) over an artifact's manifest."""
    return private_key(name).sign(signing.manifest(sha256, file_name), ec.ECDSA(hashes.SHA256()))


def release(version="2.0.0", *device_types, data=None, file_name="", key="build server", stored=True, **fields):
    """A release with one signed artifact; its bytes are in the store, where there is one."""
    device_types = device_types or (DeviceTypeFactory(),)
    data = data if data is not None else f"firmware {version} {next(_numbers)}\n".encode() * 10
    file_name = file_name or f"firmware-{version}.bin"
    row = Release.objects.create(version=version, **fields)
    Compatibility.objects.bulk_create(
        Compatibility(release=row, device_type=each, version=version) for each in device_types
    )
    sha256 = hashlib.sha256(data).hexdigest()
    artifact = Artifact.objects.create(
        release=row, file_name=file_name, size=len(data), sha256=sha256,
        sha1=hashlib.sha1(data).hexdigest(), md5=hashlib.md5(data).hexdigest(),
    )  # fmt: skip
    signature = base64.b64encode(sign(sha256, file_name, key)).decode()
    Signature.objects.create(artifact=artifact, key=trusted_key(key), signature=signature)
    if stored:
        with contextlib.suppress(NotImplementedError):
            artifacts.store([data], limit=_LARGEST)
    return row


# --- devices --------------------------------------------------------------------------------------------------------


def devices(n=1, device_type=None, version="1.0.0", online=True, *, tenant=None, boot=BOOT, session=1, **fields):
    """Active devices and their presence, in two statements. `device_type` may be a release: its first type."""
    if isinstance(device_type, Release):
        device_type = device_type.device_types.order_by("pk").first()
    device_type, tenant = device_type or DeviceTypeFactory(), tenant or TenantFactory()
    numbers = [next(_numbers) for _ in range(n)]
    rows = Device.objects.bulk_create(
        [
            Device(
                device_id=f"d-fleet{number}", hardware_id=f"sn-{number}", name=f"Fleet {number}", tenant=tenant,
                device_type=device_type, **({"state": Device.State.ACTIVE} | fields),
            )
            for number in numbers
        ],
        batch_size=5000,
    )  # fmt: skip
    Presence.objects.bulk_create(
        [
            Presence(
                device=row, online=online, session=session, boot_id=boot, firmware_version=version,
                changed_at=NOW - HOUR, last_seen_at=NOW,
            )
            for row in rows
        ],
        batch_size=5000,
    )  # fmt: skip
    return rows


def presence(device, **fields):
    """Change what is known of a device's connection."""
    Presence.objects.filter(device=device).update(**fields)


def reboot(device, version, boot=NEXT_BOOT, at=None):
    """The device came online with this version since this boot (the row only: nothing is judged by it)."""
    presence(device, firmware_version=version, boot_id=boot, online=True, changed_at=at or NOW, last_seen_at=at or NOW)


def heard_for(length):
    """The portal has heard devices for so long now, without a gap; none at all: it does not hear them."""
    now = time.time()
    if length:
        cache.set("listening", (now - length.total_seconds(), now + DAY.total_seconds()), timeout=None)
    else:
        cache.delete("listening")


# --- campaigns ------------------------------------------------------------------------------------------------------


def campaign(release, percents=PERCENTS, state="running", author=None, approver=None, **fields):
    """A campaign with pending stages and no devices yet: `enlist` gives it some. Approved where its state needs it."""
    author = author or StaffFactory()
    usual = {"name": f"Campaign {next(_numbers)}", "release": release, "author": author, "state": state}
    if state not in ("draft", "pending_approval"):
        usual |= {"approved_by": approver or StaffFactory(), "approved_at": NOW - HOUR, "approved_digest": "0" * 64}
    if state not in ("draft", "pending_approval", "scheduled"):
        usual |= {"started_at": NOW - HOUR}
    if state == "paused":
        usual |= {"paused_at": NOW, "pause_reason": "operator"}
    row = Campaign.objects.create(**(usual | fields))
    Stage.objects.bulk_create(
        Stage(campaign=row, number=number, percent=percent) for number, percent in enumerate(percents, 1)
    )
    return row


def enlist(campaign, devices, *, opened=1, **fields):
    """Write the campaign's rows for these devices as its start does, and open its stages up to `opened`.

    `fields` go to every row. Returns the updates in the order of the campaign.
    """
    places = {device.pk: ordering.place(campaign.pk, device.pk) for device in devices}
    stages = list(campaign.stages.order_by("number"))
    bounds = ordering.bounds([stage.percent for stage in stages], list(places.values()))
    kept = {bound.percent: bound for bound in bounds}
    campaign.stages.exclude(percent__in=kept).delete()
    for number, stage in enumerate([each for each in stages if each.percent in kept], 1):
        stage.number, stage.size, stage.upto = number, kept[stage.percent].size, kept[stage.percent].upto
        stage.state = "passed" if number < opened else "rolling" if number == opened else "pending"
        stage.started_at = NOW if number <= opened else None
        stage.save()
    uptos = [bound.upto for bound in bounds]
    fields = {"release": campaign.release, "changed_at": NOW - HOUR} | fields
    rows = [
        Update(
            campaign=campaign, device=device, serial=device.hardware_id, place=places[device.pk],
            stage=ordering.stage_of(places[device.pk], uptos), **fields,
        )
        for device in devices
    ]  # fmt: skip
    Update.objects.bulk_create(rows, batch_size=5000)
    Campaign.objects.filter(pk=campaign.pk).update(targets=len(rows))
    return sorted(rows, key=lambda row: row.place)


def offered(campaign, devices, state="notified", at=None, **fields):
    """As `enlist` with everything open, and every update offered an hour ago (or `at`)."""
    fields = {
        "state": state, "offered_at": at or NOW - HOUR, "waiting": "", "from_version": "1.0.0",
        "offered_boot_id": BOOT, "changed_at": at or NOW - HOUR,
    } | fields  # fmt: skip
    return enlist(campaign, devices, opened=campaign.stages.count(), **fields)


def rollout(n=1, version="2.0.0", state="notified", at=None, **fields):
    """The short way: release, devices, running campaign, offered updates. Returns the updates."""
    made = release(version)
    return offered(campaign(made, **fields), devices(n, made), state, at)


# --- what devices say -----------------------------------------------------------------------------------------------

_IN_THE_NEW_BOOT = ("verifying", "succeeded")


def report(update, state, seq, boot=None, version=None, *, attempt=None, progress=None, reason=""):
    """A report as an honest device sends it; `boot` and `version` fit the state unless they are given."""
    new = state in _IN_THE_NEW_BOOT
    return UpdateReport(
        update_id=update.update_id,
        attempt=update.attempt if attempt is None else attempt,
        seq=seq,
        state=state,
        firmware_version=version or (update.release.version if new else update.from_version or "1.0.0"),
        boot_id=boot or (NEXT_BOOT if new else BOOT),
        progress=progress,
        reason_code=reason,
    )


STORY = ("notified", "downloading", "downloaded", "installing", "rebooting", "verifying", "succeeded")
"""What a device says of an update that goes well."""


def story(update, states=STORY, first=1):
    """These reports in order, with their sequence numbers."""
    return [report(update, state, seq) for seq, state in enumerate(states, first)]
