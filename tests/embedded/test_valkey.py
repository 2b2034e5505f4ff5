import os
import signal
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fleetportal.embedded import ports, valkey
from fleetportal.embedded.place import Place
from fleetportal.embedded.program import has_exited, running, spawn
from tests.embedded.waiting import wait_for


def test_starts_on_loopback_with_a_password(place: Place, logs: Path) -> None:
    port = ports.any_free()
    with running(valkey.server(place, port, "secret-word"), logs) as server:
        with Redis.from_url(server.url, decode_responses=True) as client:
            assert client.config_get("bind", "appendonly") == {"bind": "127.0.0.1", "appendonly": "yes"}
        with Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()
        assert "secret-word" not in " ".join(server.argv)
    assert not valkey.answers(server.url)


def test_the_queue_survives_a_kill(place: Place, logs: Path) -> None:
    server = valkey.server(place, ports.any_free(), "secret")
    process = spawn(server, logs)
    wait_for(server.ready)
    with Redis.from_url(server.url) as client:
        client.rpush("queue", "task")
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: has_exited(process))
    with running(server, logs), Redis.from_url(server.url) as client:
        assert client.lrange("queue", 0, -1) == [b"task"]
