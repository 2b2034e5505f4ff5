"""Answers to devices, coalesced: what is settled, at most one message every second or so for each device."""

import threading

import structlog

from devices import contract
from devices.outgoing import publisher

log = structlog.get_logger(__name__)
SETTLE_SECONDS = 1.0
_EXPIRY_SECONDS = 60
_IDS_A_MESSAGE = 2000


class Settlements:
    """Collects what was settled and sends it from a thread of its own.

    A crash loses what waits here; the devices then send those messages again and hear of them again.
    """

    def __init__(self) -> None:
        self._waiting: dict[contract.Topic, contract.Settled] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="settlements", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits and end."""
        self._stopping.set()
        self._thread.join(timeout=5)

    @property
    def healthy(self) -> bool:
        """Is the thread alive?"""
        return self._thread.is_alive()

    def add(self, settled: dict[contract.Topic, contract.Settled]) -> None:
        """These messages are settled; call it after the commit."""
        with self._lock:
            for topic, answer in settled.items():
                waiting = self._waiting.setdefault(topic, contract.Settled([], []))
                waiting.stored.extend(answer.stored)
                waiting.refused.extend(answer.refused)

    def _run(self) -> None:
        while not self._stopping.wait(SETTLE_SECONDS):
            self._send()
        self._send()

    def _send(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for topic, answer in waiting.items():
            for start in range(0, max(len(answer.stored), len(answer.refused)), _IDS_A_MESSAGE):
                part = slice(start, start + _IDS_A_MESSAGE)
                message = contract.Settled(answer.stored[part], answer.refused[part])
                try:
                    publisher.publish(topic, message, expiry_seconds=_EXPIRY_SECONDS)
                except Exception:
                    # The device asks again; the others must not wait for ever because of it.
                    log.exception("not_settled", topic=str(topic))
