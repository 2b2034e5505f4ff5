"""Ears of tests: what a web process hears, without one."""

import json
import time

import redis
from django.conf import settings

from devices.watching import channel


class Ear:
    """Hears what is told to all web processes, and keeps what is of one device."""

    def __init__(self, device_id: str) -> None:
        self._device_id = device_id
        self._subscription = redis.Redis.from_url(settings.REDIS_URL).pubsub(ignore_subscribe_messages=True)
        self._subscription.subscribe(channel())
        self._subscription.get_message(timeout=5)  # the answer to the subscription
        self._waiting: list[dict] = []
        self.seen: list[tuple[float, dict]] = []

    def next(self, seconds: float = 5) -> dict:
        """Wait for the next change. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while not self._waiting:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            message = self._subscription.get_message(timeout=left)
            if message:
                told = json.loads(message["data"])
                self._waiting += [change for change in told if change["device"] == self._device_id]
        change = self._waiting.pop(0)
        self.seen.append((time.monotonic(), change))
        return change
