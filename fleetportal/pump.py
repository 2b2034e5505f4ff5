"""One MQTT session of the portal: messages in, batches to a room, acknowledged after the commit and in order.

While the database is slow or away it keeps reading (keep-alive!) but withholds the PUBACKs: the broker then stops at
the Receive Maximum and queues the rest. Whatever was not acknowledged comes again, to this worker or the next.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from django.db import DataError, Error, IntegrityError, connection
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from devices import contract
from devices.outgoing import connect_options
from devices.registry import Incoming
from fleetportal.observability import DROPPED

log = structlog.get_logger(__name__)

BATCH_SIZE = 2000
BATCH_AGE_SECONDS = 0.02
RECEIVE_MAXIMUM = 4000
"""QoS 1 messages in flight to us, MQTT 5 flow control: bounds our memory."""
SESSION_SECONDS = 7 * 24 * 3600
"""How long the broker keeps a session and its queue for the slot's next holder."""
_RETRY_SECONDS = (0.2, 5.0)
_TAKEN_OVER = 0x8E
_SEND_RETAINED_IF_NEW = 1


@dataclass(frozen=True, slots=True)
class _Waiting:
    connection: int
    mid: int
    message: Incoming


def _how(topic_filter: str) -> SubscribeOptions:
    if topic_filter.startswith(contract.SHARED):
        return SubscribeOptions(qos=1)
    if contract.is_broker_log(topic_filter):
        # In a storm of reconnects lines of the broker's log may be dropped; they must not fill the queue.
        return SubscribeOptions(qos=0)
    return SubscribeOptions(qos=1, retainHandling=_SEND_RETAINED_IF_NEW)


class Session:
    """A persistent session of a slot."""

    def __init__(
        self,
        client_id: str,
        filters: list[str],
        take: Callable[[list[Incoming]], None],
        refuse: Callable[[Incoming, Exception], None],
    ) -> None:
        self.client_id = client_id
        self.connected = False
        self.held = True
        """Is the slot known to be ours? Mosquitto 2.0 does not say that a session was taken over, only hangs up:
        while the locks are out of sight, whoever is hung up on must suppose so, or two would fight for ever."""
        self.lost = False
        """Another holder took the session over: this one must not come back by itself."""
        self.resumed: bool | None = None
        """Did the broker have this session already? None before the first connection."""
        self.taken = 0
        """Messages received so far."""
        self._filters = filters
        self._take = take
        self._refuse = refuse
        self._connection = 0
        self._waiting: deque[_Waiting] = deque()
        self._arrived = threading.Condition()
        self._draining = False
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._run, name=client_id, daemon=True)
        # Our own thread instead of paho's, which would die unseen.
        self._network = threading.Thread(
            target=self._client.loop_forever,
            kwargs={"retry_first_connection": True},
            name=f"{client_id}-net",
            daemon=True,
        )

    def start(self) -> None:
        """Connect and begin; returns at once, comes back by itself whenever the broker does."""
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_SECONDS
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        host, port = connect_options(self._client)
        self._client.connect_async(
            host, port, keepalive=contract.KEEPALIVE_SECONDS, clean_start=False, properties=properties
        )
        self._network.start()
        self._thread.start()

    def stop(self) -> None:
        """Store and acknowledge what has arrived, then disconnect; the broker keeps the session for its next holder."""
        with self._arrived:
            self._draining = True
            self._arrived.notify()
        self._thread.join(timeout=10)
        self._client.disconnect(properties=self._farewell())
        self._network.join(timeout=10)

    def _farewell(self) -> Properties | None:
        return None

    @property
    def healthy(self) -> bool:
        """Are both threads alive? When one is not, the process must end so that it is started afresh."""
        return (self._thread.is_alive() and self._network.is_alive()) or self._draining or self.lost

    def backlog(self) -> int:
        """Messages received and not yet acknowledged."""
        return len(self._waiting)

    # --- network thread ---

    def _make_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self.client_id, protocol=mqtt.MQTTv5, manual_ack=True
        )
        client.reconnect_delay_set(1, 5)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, client: mqtt.Client, _data: Any, flags: mqtt.ConnectFlags, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            log.error("mqtt_refused", session=self.client_id, reason=str(reason))
            return
        with self._arrived:
            self._connection += 1
            # What was not acknowledged on the old connection comes again on this one.
            self._waiting = deque(item for item in self._waiting if item.message.qos == 0)
        self.resumed = bool(flags.session_present)
        self._subscribe(client)
        self.connected = True
        log.info("mqtt_connected", session=self.client_id)

    def _subscribe(self, client: mqtt.Client) -> None:
        client.subscribe([(each, _how(each)) for each in self._filters])

    def _on_disconnect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.connected = False
        with self._arrived:
            self._connection += 1  # what is being stored now belongs to no living connection any more
        if reason.value == _TAKEN_OVER or not self.held:
            self.lost = True
            client.disconnect()
        log.warning("mqtt_disconnected", session=self.client_id, reason=str(reason))

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        incoming = Incoming(message.topic, bytes(message.payload), message.qos, message.retain)
        with self._arrived:
            if self._draining:
                return  # not acknowledged: it waits at the broker for the next holder
            if message.qos == 0 and len(self._waiting) >= 2 * RECEIVE_MAXIMUM:
                DROPPED.inc()  # QoS 0 knows no flow control; dropping is its contract
                return
            self.taken += 1
            self._waiting.append(_Waiting(self._connection, message.mid, incoming))
            self._arrived.notify()

    # --- storing thread ---

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None and self._store(batch):
                self._acknowledge(batch)
        finally:
            connection.close()

    def _next_batch(self) -> list[_Waiting] | None:
        """Wait for messages and cut a batch, by size or age. None when the session is drained."""
        with self._arrived:
            while not self._waiting:
                if self._draining or self.lost:
                    return None
                self._arrived.wait(timeout=1)
        if not self._draining:
            deadline = time.monotonic() + BATCH_AGE_SECONDS
            with self._arrived:
                while len(self._waiting) < BATCH_SIZE and (left := deadline - time.monotonic()) > 0:
                    self._arrived.wait(timeout=left)
        with self._arrived:
            return [self._waiting.popleft() for _ in range(min(BATCH_SIZE, len(self._waiting)))]

    def _store(self, batch: list[_Waiting]) -> bool:
        """Store, however long the database is away. False when the session is to end before that succeeded."""
        messages = [item.message for item in batch]
        try:
            return self._patiently(partial(self._take, messages))
        except Exception as error:
            # A message no check foresaw spoils its batch: halve until it is found, so that its neighbours are stored.
            log.exception("batch_refused", session=self.client_id, messages=len(messages))
            connection.close()
            if len(batch) == 1:
                return self._patiently(partial(self._refuse, messages[0], error))
            half = len(batch) // 2
            return self._store(batch[:half]) and self._store(batch[half:])

    def _patiently(self, work: Callable[[], None]) -> bool:
        """Do it once the database is there. Raises what is the messages' fault and not the database's absence."""
        wait, longest = _RETRY_SECONDS
        while True:
            try:
                work()
                return True
            except (DataError, IntegrityError):
                raise
            except Error as error:
                log.warning("database_away", session=self.client_id, error=str(error)[:200])
                connection.close()
                if self._draining or self.lost:
                    return False
                time.sleep(wait)
                wait = min(wait * 2, longest)

    def _acknowledge(self, batch: list[_Waiting]) -> None:
        for item in batch:
            # A message id means something only on the connection it came on.
            if item.message.qos and item.connection == self._connection:
                self._client.ack(item.mid, item.message.qos)
