"""Who a message is from: the device behind a topic, looked up once for a whole batch and kept in memory."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from sys import intern

import msgspec
from django.conf import settings
from django.db import connection
from django.db.models.functions import Coalesce

from devices import contract, evidence, remembered, skew
from devices.auditing import Found
from devices.models import Device
from devices.skew import Clock

MAX_KNOWN = 200_000
"""Devices kept in a process's memory, about 60 MB."""

_TOUCH = """
    UPDATE devices_device AS d SET changed_xid = pg_current_xact_id()
      FROM (SELECT id FROM devices_device WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE) AS locked
     WHERE d.id = locked.id
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What ingestion must know of a device."""

    pk: int
    device_id: str
    tenant: str
    device_type: str
    device_type_pk: int
    state: str
    tenant_pk: int
    telemetry_per_minute: int
    """Readings it may send per minute, in the long run: what its type says, or the settings."""
    tenant_telemetry_per_minute: int
    """Readings all devices of its tenant may send per minute, together."""
    clock: Clock = Clock.RIGHT
    """What is known of its clock."""


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """One message as it came from the broker. A struct, as there are tens of thousands a second."""

    topic: str
    payload: bytes
    qos: int
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a message was not taken: it becomes a dead letter."""

    message: Incoming
    reason: str
    detail: str
    path: str = "$"
    device_pk: int | None = None


# Asked for each message: as plain texts.
_DECOMMISSIONED, _QUARANTINED = Device.State.DECOMMISSIONED.value, Device.State.QUARANTINED.value
_memory = remembered.Memory[Known](MAX_KNOWN)


def look_up(device_ids: Iterable[str]) -> dict[str, Known]:
    """The devices of these ids, as this transaction sees them: from memory where they have not changed.

    One query tells what changed, a second reads what is not in memory. Ids without a device are asked for each time.
    In a transaction that has written already everything is read from the table: look up first. Raises django.db.Error.
    """
    wanted = set(device_ids)
    if not wanted:
        return {}
    mark, known = _memory.begin(wanted)
    seen = remembered.look(mark)
    if seen.written:
        return _read(wanted)
    if not seen.spares(mark):
        known = {}
    for device_id in seen.changed:
        known.pop(device_id, None)
    read = _read(wanted - known.keys()) if len(known) < len(wanted) else {}
    if read or seen.mark != mark:
        _memory.end(mark, seen, read)
    return known | read if read else known


def forget_all() -> None:
    """Empty this process's memory."""
    _memory.clear()


def touch(device_pks: Iterable[int]) -> None:
    """Make every process read these devices anew: what it keeps of them beside their own row has changed.

    Rows are locked in the order of their keys.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TOUCH, [sorted(set(device_pks))])


def _read(device_ids: Iterable[str]) -> dict[str, Known]:
    rows = Device.objects.filter(device_id__in=list(device_ids)).values_list(
        "pk",
        "device_id",
        "tenant__slug",
        "device_type__slug",
        "device_type_id",
        "state",
        "tenant_id",
        Coalesce("device_type__telemetry_per_minute", settings.TELEMETRY_PER_MINUTE),
        Coalesce("tenant__telemetry_per_minute", settings.TENANT_TELEMETRY_PER_MINUTE),
        "presence__skew_ms",
    )
    # Thousands of devices share a few tenants, types and states: one text each in memory.
    return {
        name: Known(
            pk, name, intern(tenant), intern(kind), kind_pk, intern(state), tenant_pk, own, shared, skew.clock(skew_ms)
        )
        for pk, name, tenant, kind, kind_pk, state, tenant_pk, own, shared, skew_ms in rows
    }


def speaker(topic: contract.Topic) -> str:
    """Whose message it is: the child's where a gateway speaks for one."""
    return topic.child or topic.device_id


def claimed(text: str) -> str:
    """The device id in a topic, whatever else is wrong with it: the broker lets nobody name another. Or nothing."""
    parts = text.split("/", 4)
    return parts[3] if len(parts) == 5 and contract.is_part(parts[3]) else ""


class Trespasses:
    """Devices of a batch that spoke where they may not: told at its end, so that many cost no more than one."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], Found] = {}

    def add(self, kind: str, device: Known, detail: str) -> None:
        """Once more. What is told is the last."""
        before = self._found.get((kind, device.pk))
        found = Found(kind, detail, device_pk=device.pk)
        self._found[kind, device.pk] = replace(found, count=before.count + 1) if before else found

    def found(self) -> list[Found]:
        """One for each device and kind, with how often."""
        return list(self._found.values())

    def tell(self) -> None:
        """Raise the findings. Call it once, late in the transaction: their rows stay locked until its end."""
        if self._found:
            evidence.find_all(self.found(), again=1)


def check(topic: contract.Topic, known: dict[str, Known], trespasses: Trespasses | None) -> Known:
    """The device that may speak on this topic. Raises `ContractError` with the reason when there is none.

    Asks nobody and writes nothing: what is to be found out is added to `trespasses`, if any.
    """
    device = known.get(topic.device_id)
    if device is None:
        raise contract.ContractError("unknown_device", f"no device {topic.device_id!r}", "topic")
    if device.tenant != topic.tenant or device.device_type != topic.device_type:
        if trespasses:
            trespasses.add("topic_mismatch", device, f"Published on {topic}")
        raise contract.ContractError("topic_mismatch", "tenant or type is not this device's", "topic")
    if topic.child:
        if trespasses:
            trespasses.add("unknown_child", device, f"Spoke for {topic.child}")
        raise contract.ContractError("unknown_child", f"{topic.child!r} is not registered under it", "topic")
    if device.state == _DECOMMISSIONED:
        raise contract.ContractError("decommissioned", "the device is decommissioned", "topic")
    if device.state == _QUARANTINED and topic.channel not in contract.OPEN_IN_QUARANTINE:
        raise contract.ContractError("quarantined", "the device is quarantined", "topic")
    return device
