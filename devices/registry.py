"""Who a message is from: the device behind a topic, looked up once for a whole batch."""

from collections.abc import Iterable
from dataclasses import dataclass

from devices import contract, evidence
from devices.models import Device


@dataclass(frozen=True, slots=True)
class Known:
    """What ingestion must know of a device."""

    pk: int
    device_id: str
    tenant: str
    device_type: str
    device_type_pk: int
    state: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message as it came from the broker."""

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


def look_up(device_ids: Iterable[str]) -> dict[str, Known]:
    """The devices of these ids, in one query."""
    rows = Device.objects.filter(device_id__in=set(device_ids)).values_list(
        "pk", "device_id", "tenant__slug", "device_type__slug", "device_type_id", "state"
    )
    return {row[1]: Known(*row) for row in rows}


def speaker(topic: contract.Topic) -> str:
    """Whose message it is: the child's where a gateway speaks for one."""
    return topic.child or topic.device_id


def check(topic: contract.Topic, known: dict[str, Known]) -> Known:
    """The device that may speak on this topic. Raises `ContractError` with the reason when there is none."""
    device = known.get(topic.device_id)
    if device is None:
        raise contract.ContractError("unknown_device", f"no device {topic.device_id!r}", "topic")
    if (device.tenant, device.device_type) != (topic.tenant, topic.device_type):
        evidence.find("topic_mismatch", f"Published on {topic}", device_pk=device.pk)
        raise contract.ContractError("topic_mismatch", "tenant or type is not this device's", "topic")
    if topic.child:
        evidence.find("unknown_child", f"Spoke for {topic.child}", device_pk=device.pk)
        raise contract.ContractError("unknown_child", f"{topic.child!r} is not registered under it", "topic")
    if device.state == Device.State.DECOMMISSIONED:
        raise contract.ContractError("decommissioned", "the device is decommissioned", "topic")
    if device.state == Device.State.QUARANTINED and topic.channel not in contract.OPEN_IN_QUARANTINE:
        raise contract.ContractError("quarantined", "the device is quarantined", "topic")
    return device
