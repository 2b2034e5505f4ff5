"""Presence: whose word counts about a device being online. The newest session, then its last will, then silence."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import connection, transaction

from devices import certificates, contract, evidence
from devices.models import Device, Event, Presence
from devices.registry import Known


def birth(
    device: Known,
    status: contract.Status,
    now: datetime,
    skew: timedelta | None = None,
    claimed: certificates.Claimed | None = None,
) -> Event | None:
    """A device came online: the event of it, not saved yet, or None where nothing changed.

    Only a session newer than the last known counts, so a repeated birth changes nothing. `claimed` has the certificates
    of a whole batch.
    One that proves a certificate for the first time cannot be old, whatever it says of its session: its counter may
    have been lost with the flash it was kept in. `skew` is what it shows of the device's clock, if anything.
    """
    if claimed is None:
        claimed = certificates.claimed([(device.pk, status)])
    proven = certificates.judge(device.pk, device.device_id, status, claimed)
    rows = Presence.objects.filter(device_id=device.pk)
    fresh = proven is not None and proven.first_seen_at is None and proven.is_trusted(now)
    changed = (rows if fresh else rows.filter(session__lt=status.session)).update(
        online=True,
        ended=Presence.Ended.NOT,
        session=status.session,
        boot_id=status.boot_id,
        firmware_version=status.firmware_version,
        agent=status.agent,
        rssi_dbm=status.rssi_dbm,
        changed_at=now,
        last_seen_at=now,
        **({} if skew is None else {"skew_ms": skew // timedelta(milliseconds=1)}),
    )
    # An older birth that comes late says nothing about the certificate in use now.
    if proven is not None and (changed or rows.filter(session=status.session).exists()):
        certificates.seen(proven, "A birth", now)
    return _told(device, "device.online", status, now) if changed else None


def lock(device_pks: Iterable[int]) -> None:
    """Take these devices' rows for this transaction, in the order in which everybody takes them: no deadlock."""
    pks = sorted(set(device_pks))
    list(Presence.objects.select_for_update().filter(pk__in=pks).order_by("pk").values_list("pk"))


def will(device: Known, status: contract.Status, now: datetime) -> Event | None:
    """A device said goodbye, or the broker said it for it: the event of it, not saved yet.

    One older than the last birth is ignored: None.
    """
    changed = (
        Presence.objects.filter(device_id=device.pk, session__lte=status.session)
        .exclude(session=status.session, ended=Presence.Ended.WILL)
        .update(online=False, ended=Presence.Ended.WILL, session=status.session, changed_at=now)
    )
    return _told(device, "device.offline", status, now) if changed else None


def _told(device: Known, kind: str, status: contract.Status, now: datetime) -> Event:
    detail = {"session": status.session, "boot_id": status.boot_id, "firmware_version": status.firmware_version}
    return evidence.told_by(kind, device.pk, device.tenant_pk, device.device_id, detail, now)


SEEN_SECONDS = 2
"""How exact `last_seen_at` is, for a device that is heard all the time: not every message of it rewrites its row. Its
silence is noticed up to so much early."""
_SEEN = """
    UPDATE devices_presence AS p
       SET last_seen_at = greatest(p.last_seen_at, %(now)s),
           online = p.online OR p.ended = 'silence',
           changed_at = CASE WHEN p.ended = 'silence' THEN %(now)s ELSE p.changed_at END,
           ended = CASE WHEN p.ended = 'silence' THEN '' ELSE p.ended END
      FROM (SELECT device_id FROM devices_presence
             WHERE device_id = ANY(%(devices)s::int[])
               AND (last_seen_at IS NULL OR last_seen_at < %(now)s - make_interval(secs => %(exact)s)
                    OR ended = 'silence')
             ORDER BY device_id FOR UPDATE) AS locked
     WHERE p.device_id = locked.device_id
"""


def seen(device_pks: Iterable[int], now: datetime) -> None:
    """These devices were heard just now; one that was only silent is back. Rows are locked in order: no deadlock."""
    with connection.cursor() as cursor:
        # As one text: an array of thousands is dear to make number by number.
        devices = f"{{{','.join(map(str, set(device_pks)))}}}"
        cursor.execute(_SEEN, {"devices": devices, "now": now, "exact": SEEN_SECONDS})


def posted(device: Device, now: datetime) -> bool:
    """A device was heard over HTTPS, where there is no birth and no will: one that never had a birth comes online.

    From then on silence ends it and being heard (`seen`) brings it back. A device that said goodbye over MQTT stays
    offline until its next birth. False when nothing changed.
    """
    if device.presence.online or device.presence.session >= 0:
        return False
    with transaction.atomic():
        unborn = Presence.objects.filter(device=device, online=False, ended=Presence.Ended.NOT, session__lt=0)
        changed = unborn.update(online=True, changed_at=now)
        if changed:
            evidence.record("device.online", device=device, actor=device.device_id, detail={"over": "https"})
    return bool(changed)


_SILENCE = """
    WITH silent AS (
        SELECT p.device_id FROM devices_presence p
          JOIN devices_device d ON d.id = p.device_id
          JOIN devices_devicetype t ON t.id = d.device_type_id
         WHERE p.online AND p.last_seen_at < %(now)s - make_interval(secs => t.silence_seconds)
           AND t.silence_seconds < %(listened)s
         ORDER BY p.device_id LIMIT %(limit)s FOR UPDATE OF p SKIP LOCKED)
    UPDATE devices_presence p SET online = false, ended = 'silence', changed_at = %(now)s
      FROM silent WHERE p.device_id = silent.device_id RETURNING p.device_id
"""
_SILENCE_BATCH = 5000


@transaction.atomic
def mark_silent(now: datetime, listened_seconds: float) -> list[str]:
    """Mark online devices offline that were not heard for longer than their type allows. Returns their device ids.

    `listened_seconds` is how long the portal has listened without a gap: a shorter silence is its own.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SILENCE, {"now": now, "limit": _SILENCE_BATCH, "listened": listened_seconds})
        pks = [row[0] for row in cursor.fetchall()]
    silent = list(Device.objects.filter(pk__in=pks))
    Event.objects.bulk_create(
        Event(kind="device.silent", at=now, device=device, tenant_id=device.tenant_id, actor="portal")
        for device in silent
    )
    return [device.device_id for device in silent]
