"""What devices report of their updates: the MQTT porter of this room."""

from collections.abc import Iterable
from datetime import datetime

from django.db import DataError, IntegrityError, transaction

from devices import contract, registry
from devices.contract import ContractError, ReportState, UpdateReport
from devices.registry import Incoming, Known, Refused
from firmware import updates

MAX_ATTEMPT = 2**15 - 1
"""What its column holds; nothing is tried as often."""
_STATES = frozenset(str(state) for state in ReportState)


def is_mine(topic: str) -> bool:
    """Is it a message for this room? By its last part alone: what is wrong with the rest is said by `store_batch`."""
    return topic.endswith(f"/{contract.UPDATE_STATUS}")


def store_batch(messages: list[Incoming], now: datetime, born: Iterable[int] = ()) -> tuple[list[Refused], set[int]]:
    """Take in reports, in order. Returns what was refused, and pks of the campaigns something changed in.

    `born`: devices (pks) that came online in the same batch; judged here, as their rows must be locked together with
    those of the reports. Inside the caller's transaction. One bad message never rejects its neighbours.
    """
    refused: list[Refused] = []
    read = _read(messages, refused)
    known = updates.known([(device, report) for _, device, report in read])
    for number, (message, device, report) in enumerate(read):
        if number not in known:
            detail = f"no update {report.update_id} was offered to this device"
            refused.append(Refused(message, "unknown_update", detail, "$.update_id", device.pk))
    good = [each for number, each in enumerate(read) if number in known]
    try:
        with transaction.atomic():
            return refused, updates.take([(device, report) for _, device, report in good], born, now)
    except (DataError, IntegrityError):
        return refused, _one_by_one(good, born, now, refused)


def _read(messages: list[Incoming], refused: list[Refused]) -> list[tuple[Incoming, Known, UpdateReport]]:
    topics = [_parse(message.topic) for message in messages]
    known = registry.look_up(topic.device_id for topic in topics if isinstance(topic, contract.Topic))
    read = []
    trespasses = registry.Trespasses()
    for message, topic in zip(messages, topics, strict=True):
        device = None
        try:
            if isinstance(topic, ContractError):
                raise topic
            device = known.get(topic.device_id)
            device = registry.check(topic, known, trespasses)
            if message.payload:  # an empty retained payload deletes the retained one; it says nothing
                read.append((message, device, _decode(message.payload)))
        except ContractError as error:
            refused.append(Refused(message, error.reason, error.detail, error.path, device.pk if device else None))
    trespasses.tell()
    return read


def _parse(text: str) -> contract.Topic | ContractError:
    try:
        return contract.Topic.parse(text)
    except ContractError as error:
        return error


def _decode(payload: bytes) -> UpdateReport:
    report = contract.decode(payload, UpdateReport)
    if report.state not in _STATES:
        raise ContractError("unknown_state", f"no state {report.state!r}", "$.state")
    if report.attempt > MAX_ATTEMPT:
        raise ContractError("field", f"Expected `int` <= {MAX_ATTEMPT}", "$.attempt")
    return report


def _one_by_one(
    good: list[tuple[Incoming, Known, UpdateReport]], born: Iterable[int], now: datetime, refused: list[Refused]
) -> set[int]:
    """A row the database refuses must not take the neighbours' rows with it."""
    changed: set[int] = set()
    for message, device, report in good:
        try:
            with transaction.atomic():
                changed |= updates.record_reports([(device, report)], now)
        except (DataError, IntegrityError) as error:
            detail = str(error).partition("\n")[0]
            refused.append(Refused(message, "unstorable", detail, device_pk=device.pk))
    return changed | updates.births(born, now)
