"""Refused or away: what a connection that fails looks like, with real sockets."""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import aiomqtt
import pytest

from agent.client import Client, Refused
from agent.identity import Identity
from agent.reenroll import tls_context
from tests.agent.authority import Authority
from tests.agent.mosquitto import Mosquitto, free_port

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def failure(port: int, tls: ssl.SSLContext | None = None, seconds: float = 3) -> Exception | None:
    """What comes of a connection, and soon."""

    async def connect() -> None:
        async with Client("localhost", port, identifier="d-1", tls_context=tls, timeout=1):
            pass

    began = time.monotonic()
    try:
        asyncio.run(connect())
    except aiomqtt.MqttError as error:
        assert time.monotonic() - began < seconds
        return error
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_good_certificate_is_accepted(
    broker: Mosquitto, authority: Authority, enrolled: Identity, version: ssl.TLSVersion
) -> None:
    tls = tls_context(authority.root, enrolled.credentials)
    tls.maximum_version = version
    assert failure(broker.port, tls) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_revoked_certificate_is_refused(
    broker: Mosquitto, authority: Authority, enrolled: Identity, version: ssl.TLSVersion
) -> None:
    authority.revoke(enrolled.serial)
    broker.reload()
    tls = tls_context(authority.root, enrolled.credentials)
    tls.maximum_version = version
    assert isinstance(failure(broker.port, tls), Refused)


def test_no_certificate_is_refused(broker: Mosquitto, authority: Authority) -> None:
    assert isinstance(failure(broker.port, ssl.create_default_context(cafile=authority.root)), Refused)


def test_a_broker_of_another_authority_is_a_refusal_by_ourselves(
    broker: Mosquitto, enrolled: Identity, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path)
    assert isinstance(failure(broker.port, tls_context(stranger.root, enrolled.credentials)), Refused)


@contextmanager
def says(answer: bytes) -> Iterator[int]:
    """A plain server that answers the first bytes of one client with these, and then stays silent."""
    with socket.create_server(("localhost", 0)) as server, ThreadPoolExecutor(1) as thread:

        def serve() -> socket.socket:
            client, _ = server.accept()
            client.recv(1000)
            client.sendall(answer)
            return client

        serving = thread.submit(serve)
        yield server.getsockname()[1]
        serving.result().close()


def test_a_negative_answer_to_connect_is_a_refusal() -> None:
    with says(b"\x20\x02\x00\x05") as port:
        error = failure(port)
    assert isinstance(error, Refused)
    assert "ot authori" in str(error)


def test_no_answer_is_no_refusal() -> None:
    with says(b"") as port:
        error = failure(port)
    assert error is not None
    assert not isinstance(error, Refused)


def test_nobody_there_is_no_refusal() -> None:
    error = failure(free_port())
    assert error is not None
    assert not isinstance(error, Refused)
