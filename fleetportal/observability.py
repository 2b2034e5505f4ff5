"""Logs and metrics, configured once for every process: JSON lines with a correlation id, Prometheus counters."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REQUESTS = Histogram(
    "fleetportal_http_request_seconds", "Time to answer an HTTP request (s).", ["method", "view", "status"]
)
MESSAGES = Counter("fleetportal_mqtt_messages_total", "MQTT messages taken in.", ["room", "verdict"])
CONNECTIONS = Counter(
    "fleetportal_broker_connections_total", "Connections of devices by what the broker's log says.", ["verdict"]
)
BATCH = Histogram("fleetportal_mqtt_batch_seconds", "Time to store one batch (s).", ["room"])
INGEST = Histogram(
    "fleetportal_ingest_seconds",
    "Time from the socket to stored (s), of the oldest message of each batch.",
    ["session"],
)
DROPPED = Counter("fleetportal_mqtt_dropped_total", "QoS 0 messages dropped because the database was behind.")
UNACKED = Gauge("fleetportal_mqtt_unacked", "Messages received and not yet acknowledged.", multiprocess_mode="livesum")
OLDEST = Gauge(
    "fleetportal_mqtt_oldest_seconds", "Age of the oldest message not yet stored (s).", multiprocess_mode="livemax"
)
AWAY = Gauge(
    "fleetportal_database_away_seconds", "For how long no batch could be stored (s).", multiprocess_mode="livemax"
)
BACKLOG = Gauge(
    "fleetportal_backlog_seconds",
    "How long messages wait, those at the broker too (s).",
    multiprocess_mode="livemostrecent",
)
BROKER = Gauge(
    "fleetportal_broker",
    "What the broker says of itself: queued (messages), size (bytes), dropped (messages since it started), clients.",
    ["figure"],
    multiprocess_mode="livemostrecent",
)

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def configure() -> None:
    """Send structlog through the standard library, so that libraries' lines look like ours."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def logging_config(level: str) -> dict[str, Any]:
    """Django's LOGGING: one JSON object a line on standard error. No payload and no secret below it, ever."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(),
                ],
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # The request line of django_structlog carries the same and the correlation id.
            "uvicorn.access": {"level": "WARNING"},
            "django.server": {"level": "WARNING"},
            "django_structlog": {"level": level},
        },
    }


class MetricsMiddleware:
    """Times every request by view name; never by path, which devices and strangers choose."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, and take the time."""
        start = time.perf_counter()
        response = self.get_response(request)
        match = request.resolver_match
        REQUESTS.labels(request.method, match.view_name if match else "", response.status_code).observe(
            time.perf_counter() - start
        )
        response["X-Correlation-ID"] = correlation_id()
        return response


def correlation_id() -> str:
    """The id that joins the answer, its log lines, and the tasks and evidence it caused."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def exposition() -> bytes:
    """Metrics in Prometheus' text format: of all processes that share a folder, else of this one."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return generate_latest(REGISTRY)
    from prometheus_client import multiprocess  # noqa: PLC0415 (refuses to be imported without the folder)

    for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if not Path("/proc", pid).exists():  # killed: what it said last is no longer so
            multiprocess.mark_process_dead(pid)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)
