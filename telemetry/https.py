"""The HTTPS door of telemetry: what a device would publish over MQTT, for those that cannot. One code path with it."""

import time

import structlog
from django.db import DataError, Error, IntegrityError
from django.http import HttpResponse
from django.utils import timezone
from prometheus_client import Counter
from rest_framework.request import Request
from rest_framework.response import Response

from devices import contract, presence
from devices.authentication import DeviceView, speaker_of
from devices.models import Device
from devices.problems import problem
from devices.registry import Incoming
from telemetry import described, floods, ingest, live
from telemetry.store import Row

log = structlog.get_logger(__name__)

READINGS = Counter("fleetportal_https_readings_total", "Readings that came over HTTPS.", ["verdict"])
"""stored, duplicate, refused, unstorable; of flooded ones requests are counted, as nobody looked into them."""

_STATUS = {"too_large": 413, "quarantined": 403, "decommissioned": 403}
"""HTTP statuses of a message that is refused as a whole; any other is a mistake in it: 400."""
_MAX_DIGITS = 10
"""Of a length: Python reads no number of any length."""
_UNSTORABLE_SECONDS = 3600
"""When to come again with what only a mended portal can store."""


class TelemetryView(DeviceView):
    """`POST /api/v1/telemetry`: one envelope or an array of at most 500, JSON or CBOR, at most 256 KiB.

    200 `{"stored": [msg_id…], "refused": [{"msg_id", "reason"}…]}` as over MQTT: settled, drop both from your buffer.
    Refusals of the whole are problem details: 400 with the reason when the body is no message, 401 and 403 of
    `DeviceAuthentication`, 413 too_large, 429 throttled (too many requests) and flood (too many readings), both with
    Retry-After, 503 try_again and unstorable. Only a 200 settles anything.
    """

    parser_classes = ()  # the payload's own rules decide what it is, not its media type
    throttle_scope = "ingest"

    @described.TELEMETRY
    def post(self, request: Request) -> HttpResponse | Response:
        """Take it in."""
        payload = _body(request)
        if payload is None:
            return problem(413, "too_large", f"At most {contract.MAX_PAYLOAD_BYTES} bytes are taken.")
        device = speaker_of(request).device
        topic = contract.Topic(device.tenant.slug, device.device_type.slug, device.device_id, contract.TELEMETRY)
        message = Incoming(str(topic), payload, qos=1)
        try:
            outcome = ingest.store_batch([message])
        except Exception as error:
            if isinstance(error, Error) and not isinstance(error, (DataError, IntegrityError)):
                raise  # the database is away
            READINGS.labels("unstorable").inc()
            log.exception("message_unstorable", device=device.device_id)
            return _unstorable(message, error)
        _count(outcome)
        if outcome.flooded:
            return _flooded(device)
        for row in outcome.newest.values():
            _heard(device, row)
        for answer in outcome.settled.values():
            return HttpResponse(contract.encode(answer), content_type="application/json")
        whole = outcome.refused[0]
        return problem(_STATUS.get(whole.reason, 400), whole.reason, whole.detail, path=whole.path)


def _count(outcome: ingest.Outcome) -> None:
    told = {
        "stored": outcome.stored,
        "duplicate": outcome.duplicates,
        "refused": len(outcome.refused),
        "flooded": outcome.flooded,
    }
    for verdict, count in told.items():
        if count:
            READINGS.labels(verdict).inc(count)


def _flooded(device: Device) -> Response:
    """Over a budget: nothing was taken, and it comes again when its bucket is out of debt."""
    wait = floods.of_this_process.wait(device.pk, device.tenant_id, time.monotonic())
    answer = problem(429, "flood", f"More readings than this device or its tenant may send. Come again in {wait} s.")
    answer["Retry-After"] = str(wait)
    return answer


def _heard(device: Device, row: Row) -> None:
    """Something new is stored: the device was there, and those who watch it see it."""
    now = timezone.now()
    watchers = live.of_this_process()
    watchers.offer(device.device_id, live.reading(row))
    if presence.posted(device, now):
        watchers.offer(device.device_id, {"presence": {"online": True, "at": int(now.timestamp() * 1000)}})


def _body(request: Request) -> bytes | None:
    """The request's body; None when it is, or claims to be, longer than a message may be."""
    told = request.META.get("CONTENT_LENGTH") or "0"
    if not told.isdecimal() or len(told) > _MAX_DIGITS or int(told) > contract.MAX_PAYLOAD_BYTES:
        return None
    body: bytes = request.read(contract.MAX_PAYLOAD_BYTES + 1)
    return None if len(body) > contract.MAX_PAYLOAD_BYTES else body


def _unstorable(message: Incoming, error: Exception) -> Response:
    """What passes our checks and not the database's is kept as over MQTT, and stays in the device's buffer."""
    ingest.keep_unstorable(message, error)
    answer = problem(503, "unstorable", "The portal cannot store this; somebody will see to it.")
    answer["Retry-After"] = str(_UNSTORABLE_SECONDS)
    return answer
