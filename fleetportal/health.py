"""Is it alive, is it ready, what does it count?"""

import hmac
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST
from redis import RedisError

from devices import broker
from fleetportal import observability
from fleetportal.bootstep import heartbeat_key
from fleetportal.slots import client_id
from fleetportal.tasks import BEAT_KEY, unserved
from telemetry import backlog, pressure
from telemetry.tables import partitions

_BEAT_SECONDS = 60
_CRL_SECONDS = 24 * 3600
_BEHIND_SECONDS = 5


class NotReady(Exception):
    """A part is not ready; the text says what is wrong with it."""


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _cache() -> None:
    cache.set("ready", 1, 10)


def _broker() -> None:
    url = urlsplit(settings.MQTT_URL)
    socket.create_connection((url.hostname or "", url.port or 1883), timeout=2).close()


def _ingest() -> None:
    slots = range(settings.MQTT_SLOTS + 1)
    missing = [client_id(slot) for slot in slots if cache.get(heartbeat_key(slot)) is None]
    if missing:
        raise NotReady("no worker serves " + ", ".join(missing))
    seen = backlog.now()
    if seen.stuck > pressure.STUCK_SECONDS:
        raise NotReady(f"nothing stored for {seen.stuck:.0f} s while {seen.messages} messages wait")


def _beat() -> None:
    seen = cache.get(BEAT_KEY)
    if seen is None or time.time() - seen > _BEAT_SECONDS:
        raise NotReady("no heartbeat through beat and a worker in the last minute")


def _workers() -> None:
    routes = settings.CELERY_TASK_ROUTES.values()
    queues = sorted({settings.CELERY_TASK_DEFAULT_QUEUE, *(route["queue"] for route in routes)})
    if missing := unserved(queues):
        raise NotReady("no worker serves the queue " + ", ".join(missing))


def _partitions() -> None:
    if partitions.days_ahead(timezone.now()) < 2:
        raise NotReady("tomorrow's partition of the readings is missing")


def _crl() -> None:
    expires = broker.crl_expires_at()
    if expires is None or (expires - timezone.now()).total_seconds() < _CRL_SECONDS:
        raise NotReady("the CRL is missing or expires within a day: the broker would refuse every device")


PARTS: dict[str, Callable[[], None]] = {
    "database": _database,
    "cache": _cache,
    "broker": _broker,
    "ingest": _ingest,
    "beat": _beat,
    "workers": _workers,
    "partitions": _partitions,
    "crl": _crl,
}


@never_cache
@require_safe
def livez(_request: HttpRequest) -> HttpResponse:
    """200 while this process answers; not about its neighbours: none is restarted for another's fault."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(_request: HttpRequest) -> HttpResponse:
    """200 when every part is ready, else 503; the body names each part, without addresses or credentials.

    `notes` say what is slow though it works.
    """
    parts = {name: _state(check) for name, check in PARTS.items()}
    ready = all(state == "ok" for state in parts.values())
    answer = {"status": "ok" if ready else "not ready", "parts": parts, "notes": _notes()}
    return JsonResponse(answer, status=200 if ready else 503)


def _notes() -> list[str]:
    """What is worth a word and makes nothing less ready: to turn a slow portal away would only lengthen its queue."""
    try:
        seen = backlog.now()
    except RedisError:
        return []
    told = []
    if seen.seconds >= _BEHIND_SECONDS:
        told.append(f"ingest is {seen.seconds:.0f} s behind: {seen.messages} messages wait")
    if pressure.is_dropping(seen.broker, time.time()):
        told.append("the broker dropped messages")
    return told


def _state(check: Callable[[], None]) -> str:
    try:
        check()
    except NotReady as error:
        return str(error)
    except Exception as error:
        return f"away ({type(error).__name__})"
    return "ok"


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus metrics of this machine's processes. With METRICS_TOKEN set, only for its bearer."""
    expected, told = f"Bearer {settings.METRICS_TOKEN}", request.headers.get("Authorization", "")
    if settings.METRICS_TOKEN and not hmac.compare_digest(told.encode(), expected.encode()):
        return HttpResponse("Unauthorized", status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(observability.exposition(), content_type=CONTENT_TYPE_LATEST)
