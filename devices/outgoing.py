"""The portal's voice to devices: publish to one, or end its session. Nothing else publishes for the portal."""

import threading
import time
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from django.conf import settings
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from devices import contract

_CONNECT_SECONDS = 5


def connect_options(client: mqtt.Client) -> tuple[str, int]:
    """Give a client the portal's credential. Returns host and port of the internal listener."""
    url = urlsplit(settings.MQTT_URL)
    if url.username:
        client.username_pw_set(unquote(url.username), unquote(url.password or ""))
    if url.scheme == "mqtts":
        client.tls_set()
    return url.hostname or "localhost", url.port or 1883


class Publisher:
    """One connection of this process to the broker, opened on first use and kept; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: mqtt.Client | None = None

    def publish(self, topic: contract.Topic, payload: Any, *, expiry_seconds: int) -> None:
        """Send a payload struct at QoS 1. A message nobody takes within `expiry_seconds` is dropped by the broker.

        While the broker is away messages wait in memory, up to a bound; the rows behind them are the truth and are
        sent again at the device's next birth.
        """
        properties = Properties(PacketTypes.PUBLISH)
        properties.MessageExpiryInterval = expiry_seconds
        self._open().publish(str(topic), contract.encode(payload), qos=1, properties=properties)

    def _open(self) -> mqtt.Client:
        with self._lock:
            if self._client is None:
                client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
                client.max_queued_messages_set(10_000)
                client.reconnect_delay_set(1, 30)
                host, port = connect_options(client)
                client.connect_async(host, port, keepalive=contract.KEEPALIVE_SECONDS)
                client.loop_start()
                self._client = client
            return self._client


publisher = Publisher()


class BrokerSilentError(OSError):
    """The broker was reached, but did not answer or did not let the portal in."""


def cut(device_id: str) -> None:
    """End a device's live session by taking its client id over: it is disconnected at once and its will is published.

    What keeps it out afterwards is the CRL or ACL, written before. Raises OSError when that cannot be said to have
    happened: the broker is away, or `BrokerSilentError`.
    """
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=device_id, protocol=mqtt.MQTTv5)
    answers: list[ReasonCode] = []
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(reason)
    host, port = connect_options(client)
    deadline = time.monotonic() + _CONNECT_SECONDS
    client.connect(host, port, clean_start=True)
    # In this thread: a bulk cuts hundreds, one after the other.
    while not answers and time.monotonic() < deadline and client.loop(timeout=1) == mqtt.MQTT_ERR_SUCCESS:
        pass
    client.disconnect()
    if not answers or answers[0].is_failure:
        raise BrokerSilentError(f"{device_id}: {answers[0] if answers else 'no answer'}")
