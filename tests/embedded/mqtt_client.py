"""A device or a portal, as far as these tests need one."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.embedded.waiting import wait_for


class Refused(Exception):
    """The broker does not let this client in."""


@contextmanager
def connected(
    port: int, tls: ssl.SSLContext | None = None, url: str = "", client_id: str = ""
) -> Iterator[tuple[mqtt.Client, list[tuple[str, bytes]]]]:
    """A client with a thread of its own, and the messages it has received. Raises Refused."""
    received: list[tuple[str, bytes]] = []
    refusals: list[object] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False)
    client.on_message = lambda _client, _data, message: received.append((message.topic, bytes(message.payload)))
    client.on_disconnect = lambda *details: refusals.append(details)
    if tls:
        client.tls_set_context(tls)
    if url:
        client.username_pw_set(urlsplit(url).username or "", urlsplit(url).password or "")
    try:
        client.connect("127.0.0.1", port)
    except OSError as error:
        raise Refused from error
    client.loop_start()
    try:
        wait_for(lambda: client.is_connected() or bool(refusals))
        if not client.is_connected():
            raise Refused
        yield client, received
    finally:
        client.disconnect()
        client.loop_stop()


def listen(client: mqtt.Client, topic: str) -> None:
    """Subscribe, and wait until the broker has."""
    granted: list[object] = []
    client.on_subscribe = lambda *details: granted.append(details)
    client.subscribe(topic, qos=1)
    wait_for(lambda: bool(granted))
