"""Answers to devices, coalesced: what is settled, at most one message every second or so for each device."""

import threading
from collections.abc import Iterator, Mapping

import structlog
from paho.mqtt.reasoncodes import ReasonCode

from devices import contract
from devices.outgoing import connect_options
from fleetportal.mqtt_client import BulkPublisher

log = structlog.get_logger(__name__)
SETTLE_SECONDS = 1.0
_EXPIRY_SECONDS = 60
_IDS_A_MESSAGE = 2000
_CONNECT_SECONDS = 5.0
_SEND_SECONDS = 30.0


class Settlements:
    """Collects what was settled and sends it from a thread of its own, over a connection of its own.

    A crash, or a broker that goes away, loses what is under way; the devices then send those messages again and hear of
    them again.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, contract.Settled] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._connected = threading.Event()
        self._client = BulkPublisher()
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._connected.clear()
        self._thread = threading.Thread(target=self._run, name="settlements", daemon=True)
        self._network = threading.Thread(target=self._client.serve, name="settlements-net", daemon=True)

    def start(self) -> None:
        """Start sending."""
        host, port = connect_options(self._client)
        self._client.connect_async(host, port, keepalive=contract.KEEPALIVE_SECONDS)
        self._network.start()
        self._thread.start()

    def stop(self) -> None:
        """Send what waits and end."""
        self._stopping.set()
        self._thread.join(timeout=_CONNECT_SECONDS + 5)
        self._client.disconnect()
        self._network.join(timeout=5)

    @property
    def healthy(self) -> bool:
        """Are the threads alive?"""
        return self._thread.is_alive() and self._network.is_alive()

    def add(self, settled: Mapping[str, contract.Settled]) -> None:
        """These messages are settled, by topic of the answer; call it after the commit."""
        with self._lock:
            for topic, answer in settled.items():
                waiting = self._waiting.get(topic)
                if waiting is None:
                    self._waiting[topic] = answer
                else:
                    waiting.stored.extend(answer.stored)
                    waiting.refused.extend(answer.refused)

    def _on_connect(self, _client: object, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        if reason.is_failure:
            log.error("settlements_refused", reason=str(reason))
        else:
            self._connected.set()

    def _run(self) -> None:
        while not self._stopping.wait(SETTLE_SECONDS):
            if self._connected.is_set():  # else they wait: while the broker is away, no more of them come
                self._send()
        if self._waiting and self._connected.wait(_CONNECT_SECONDS):
            self._send()

    def _send(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        try:
            sent = self._client.publish_all(_messages(waiting), _EXPIRY_SECONDS, _SEND_SECONDS)
        except Exception:
            # The devices ask again; those of later must not wait for ever because of it.
            log.exception("not_settled", devices=len(waiting))
            return
        if not sent:
            log.warning("not_settled", devices=len(waiting))


def _messages(settled: dict[str, contract.Settled]) -> Iterator[tuple[str, bytes]]:
    """Answers as they are published; a large one is cut, so that a device can take it."""
    for topic, answer in settled.items():
        for start in range(0, max(len(answer.stored), len(answer.refused)), _IDS_A_MESSAGE):
            part = slice(start, start + _IDS_A_MESSAGE)
            yield topic, contract.encode(contract.Settled(answer.stored[part], answer.refused[part]))
