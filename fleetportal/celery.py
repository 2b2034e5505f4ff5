"""The queue and the clock. `celery -A fleetportal worker --mqtt` also runs the MQTT pump (bootstep.py)."""

import contextlib
import os
import time

from celery import Celery
from celery.signals import beat_init, heartbeat_sent, setup_logging, worker_ready
from click import Option
from django_structlog.celery.steps import DjangoStructLogInitStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")

from fleetportal.bootstep import MqttPump

app = Celery("fleetportal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["fleetportal"])
app.steps["worker"].add(DjangoStructLogInitStep)
app.steps["worker"].add(MqttPump)
app.user_options["worker"].add(Option(("--mqtt",), is_flag=True, help="Also run the MQTT pump in this worker."))


@setup_logging.connect
def _keep_djangos_logging(**_: object) -> None:
    """Celery leaves the root logger alone once this signal has a receiver."""


@beat_init.connect
def _first_heartbeat(**_: object) -> None:
    """Not only after the first interval: /readyz waits for it."""
    app.send_task("fleetportal.tasks.beat_heartbeat")


_QUEUES_SECONDS = 10.0
_served_at = -_QUEUES_SECONDS


@heartbeat_sent.connect
def _serve_queues(**_: object) -> None:
    """Celery tells its neighbours every two seconds that it lives; /readyz hears of it from Valkey, less often."""
    global _served_at  # noqa: PLW0603 (one worker a process)
    from redis import RedisError

    from fleetportal import tasks

    if time.monotonic() - _served_at >= _QUEUES_SECONDS:
        _served_at = time.monotonic()
        with contextlib.suppress(RedisError):  # said again
            tasks.serve(app.amqp.queues.consume_from)


@worker_ready.connect
def _serve_metrics(**_: object) -> None:
    from django.conf import settings
    from prometheus_client import start_http_server

    if settings.METRICS_PORT:
        start_http_server(settings.METRICS_PORT)
