"""One MQTT session of the portal: messages in, batches to a room, acknowledged after the commit and in order.

While the database is slow or away it withholds the PUBACKs: the broker then stops at the Receive Maximum and queues the
rest. Mosquitto 2.0 lets out too much when PUBACKs come in order (each of them makes room for as many as there may be):
so nothing is read either while a batch waits behind the one that is being stored, but for pings. Whatever was not
acknowledged comes again, to this worker or the next.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
import structlog
from django.db import DataError, Error, IntegrityError, InterfaceError, OperationalError, connection
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from devices import contract
from devices.outgoing import connect_options
from devices.registry import Incoming
from fleetportal.mqtt_client import BulkClient
from fleetportal.observability import DROPPED, INGEST

log = structlog.get_logger(__name__)

BATCH_SIZE = 4000
BATCH_AGE_SECONDS = 0.02
RECEIVE_MAXIMUM = 8000
"""QoS 1 messages in flight to us, MQTT 5 flow control: a batch that is being stored and one that comes in meanwhile."""
HELD_BYTES = 32 * 1024 * 1024
"""Payloads that wait: with more than this nothing is read, and with half of it no QoS 0 kept."""
SESSION_SECONDS = 7 * 24 * 3600
"""How long the broker keeps a session and its queue for the slot's next holder."""
_RETRY_SECONDS = (0.2, 5.0)
_TAKEN_OVER = 0x8E
_SEND_RETAINED_IF_NEW = 1


class _Chunk(NamedTuple):
    """Messages that were read together."""

    connection: int
    since: float
    """Received, monotonic seconds."""
    messages: list[tuple[int, Incoming]]
    """In order, each with its message id; 0 at QoS 0."""


def _how(topic_filter: str) -> SubscribeOptions:
    if topic_filter.startswith(contract.SHARED):
        return SubscribeOptions(qos=1)
    if contract.is_broker_figure(topic_filter):
        return SubscribeOptions(qos=0)
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
        self.overheard: Callable[[str, bytes], None] | None = None
        """Told topic and payload of what the broker counts, at once and in the network thread: such messages wait for
        no database."""
        self._filters = filters
        self._take = take
        self._refuse = refuse
        self._connection = 0
        self._waiting: deque[_Chunk] = deque()
        self._count = 0
        """Messages in `_waiting`."""
        self._unacknowledged = self._bytes = 0
        """QoS 1 messages in `_waiting`, and bytes of all payloads there."""
        self._in_hand = 0
        """Messages being stored."""
        lock = threading.Lock()
        self._arrived, self._taken = threading.Condition(lock), threading.Condition(lock)
        self._draining = False
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._run, name=client_id, daemon=True)
        # Our own thread instead of paho's, which would die unseen.
        self._network = threading.Thread(target=self._client.serve, name=f"{client_id}-net", daemon=True)

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
        return self._count + self._in_hand

    # --- network thread ---

    def _make_client(self) -> BulkClient:
        client = BulkClient(self.client_id, self._on_messages, self._has_room)
        client.reconnect_delay_set(1, 5)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
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
            self._keep([(0, message) for chunk in self._waiting for mid, message in chunk.messages if not mid])
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

    def _keep(self, messages: list[tuple[int, Incoming]]) -> None:
        """Nothing else waits any more."""
        self._waiting.clear()
        self._count = self._unacknowledged = self._bytes = 0
        self._add(messages)

    def _add(self, messages: list[tuple[int, Incoming]]) -> None:
        if messages:
            chunk = _Chunk(self._connection, time.monotonic(), messages)
            self._waiting.append(chunk)
            self._weigh(chunk, 1)
            self._arrived.notify()

    def _weigh(self, chunk: _Chunk, sign: int) -> None:
        """It waits (1), or no longer (-1)."""
        self._count += sign * len(chunk.messages)
        self._unacknowledged += sign * sum(1 for mid, _ in chunk.messages if mid)
        self._bytes += sign * sum(len(message.payload) for _, message in chunk.messages)

    def _has_room(self) -> bool:
        """Wait, a second at most, until no more waits than the next batch can take."""
        with self._arrived:
            return self._taken.wait_for(
                lambda: (self._unacknowledged < BATCH_SIZE and self._bytes < HELD_BYTES) or self._draining, timeout=1
            )

    def _on_messages(self, messages: list[tuple[int, Incoming]]) -> None:
        if self.overheard:
            messages = [each for each in messages if not self._overhears(each[1])]
        with self._arrived:
            if self._draining:
                return  # not acknowledged: they wait at the broker for the next holder
            room = 2 * RECEIVE_MAXIMUM - self._count if self._bytes < HELD_BYTES // 2 else 0
            if len(messages) > room:
                # QoS 0 knows no flow control; dropping is its contract.
                kept = [each for place, each in enumerate(messages) if each[0] or place < room]
                DROPPED.inc(len(messages) - len(kept))
                messages = kept
            self.taken += len(messages)
            self._add(messages)

    def _overhears(self, message: Incoming) -> bool:
        if self.overheard is None or not contract.is_broker_figure(message.topic):
            return False
        self.overheard(message.topic, message.payload)
        return True

    # --- storing thread ---

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None and self._store(_messages(batch)):
                INGEST.labels(self.client_id).observe(time.monotonic() - batch[0].since)
                self._acknowledge(batch)
        finally:
            connection.close()

    def _next_batch(self) -> list[_Chunk] | None:
        """Wait for messages and cut a batch, by size or age. None when the session is drained."""
        with self._arrived:
            while not (batch := self._gather()):
                if self._draining or self.lost:
                    return None
                self._arrived.wait(timeout=1)
            return batch

    def _gather(self) -> list[_Chunk]:
        """Let what waits grow to a batch, and cut it. May be nothing: a reconnect meanwhile takes all away."""
        deadline = time.monotonic() + BATCH_AGE_SECONDS
        while self._waiting and self._count < BATCH_SIZE and not self._draining:
            if (left := deadline - time.monotonic()) <= 0:
                break
            self._arrived.wait(timeout=left)
        batch: list[_Chunk] = []
        while self._waiting and (not batch or self._in_hand + len(self._waiting[0].messages) <= BATCH_SIZE):
            batch.append(self._waiting.popleft())
            self._in_hand += len(batch[-1].messages)
            self._weigh(batch[-1], -1)
        self._taken.notify()
        return batch

    def _store(self, messages: list[Incoming]) -> bool:
        """Store, however long the database is away. False when the session is to end before that succeeded."""
        try:
            return self._patiently(partial(self._take, messages))
        except Exception as error:
            # A message no check foresaw spoils its batch: halve until it is found, so that its neighbours are stored.
            log.exception("batch_refused", session=self.client_id, messages=len(messages))
            connection.close()
            if len(messages) == 1:
                return self._patiently(partial(self._refuse, messages[0], error))
            half = len(messages) // 2
            return self._store(messages[:half]) and self._store(messages[half:])

    def _patiently(self, work: Callable[[], None]) -> bool:
        """Do it once the database is there and takes it. Raises what is the messages' fault and not the database's."""
        wait, longest = _RETRY_SECONDS
        while True:
            try:
                work()
                return True
            except (DataError, IntegrityError):
                raise
            except Error as error:
                self._tell(error)
                connection.close()
                if self._draining or self.lost:
                    return False
                time.sleep(wait)
                wait = min(wait * 2, longest)

    def _tell(self, error: Error) -> None:
        said = str(error)[:200]
        if isinstance(error, OperationalError | InterfaceError):
            log.warning("database_away", session=self.client_id, error=said)
        else:  # it is there: a migration that is half done, a right that is missing. Somebody must mend that
            log.error("database_refuses", session=self.client_id, kind=type(error).__name__, error=said)

    def _acknowledge(self, batch: list[_Chunk]) -> None:
        # A message id means something only on the connection it came on: until these are queued, it is not replaced.
        with self._arrived:
            self._in_hand = 0
            ours = (chunk.messages for chunk in batch if chunk.connection == self._connection)
            self._client.acknowledge([mid for messages in ours for mid, _ in messages if mid])


def _messages(batch: list[_Chunk]) -> list[Incoming]:
    return [message for chunk in batch for _, message in chunk.messages]
