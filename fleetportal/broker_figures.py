"""What the broker counts about itself, as the control session hears it."""

import threading
import time

from devices import contract
from telemetry import pressure
from telemetry.pressure import Broker


class BrokerFigures:
    """The newest figures; heard in the session's network thread, so that no database can hold them up."""

    def __init__(self) -> None:
        self._heard: dict[str, int] = {}
        self._lock = threading.Lock()

    def hear(self, topic: str, payload: bytes) -> None:
        """One figure. What is no number is not heard."""
        if payload.isdigit():
            with self._lock:
                self._heard[topic] = int(payload)

    def counted(self, before: Broker | None) -> Broker | None:
        """All of them now, judged by what was told before; None until one was heard.

        Mosquitto tells a figure when it changes, and forgets a minute later what it told: one that is not heard has not
        changed since it was told before.
        """
        with self._lock:
            heard = dict(self._heard)
        if not heard:
            return None
        known = before or Broker(0.0)
        was = (known.queued + known.retained, known.retained, known.size, known.dropped, known.clients)
        figures = zip(contract.BROKER_FIGURES, was, strict=True)
        stored, retained, size, dropped, clients = (heard.get(topic, old) for topic, old in figures)
        seen = Broker(time.time(), max(stored - retained, 0), retained, size, dropped, clients=clients)
        return pressure.counted(before, seen)
