"""After the commit: the workers are told whom to shut out (or let in again), once for a whole selection."""

from celery.exceptions import OperationalError
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from redis.exceptions import RedisError

from devices.tasks import shut_out

QUEUE_AWAY = (
    "The queue is away, so the broker has not been told yet and live sessions go on: "
    "it is done within a minute of the queue's return."
)


class ShutOut:
    """The devices one request decided about. One task for all of them: it writes the broker's files once."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._device_ids: dict[str, None] = {}  # in the order of the decisions, each once

    def add(self, device_id: str) -> None:
        """Something about this device was decided."""
        self._device_ids[device_id] = None

    def after_commit(self) -> None:
        """Tell the workers once this is committed. Robust: what is decided stays decided, whatever goes wrong here."""
        if self._device_ids:
            transaction.on_commit(self._tell, robust=True)

    def _tell(self) -> None:
        try:
            shut_out.delay(list(self._device_ids))
        except (OperationalError, RedisError):
            # tasks.shut_out_overdue finds what was decided by the events.
            messages.warning(self._request, QUEUE_AWAY)
