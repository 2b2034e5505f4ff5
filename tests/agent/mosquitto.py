"""A real Mosquitto with a mutual TLS door for devices and a plain one for the test."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.agent.authority import Authority

CONFIGURATION = """
per_listener_settings true
user root
max_queued_messages 100000
log_dest file {log}
log_type all
listener {port} 127.0.0.1
cafile {root}
crlfile {crl}
certfile {certificate}
keyfile {key}
require_certificate true
use_identity_as_username true
use_username_as_clientid true
listener {plain_port} 127.0.0.1
allow_anonymous true
"""
RELOADS = "Reloading config"


class Mosquitto:
    """One broker on free ports; it can be killed and started again on the same ones."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        certificate, key = authority.server()
        self.port, self.plain_port = free_port(), free_port()
        self._configuration, self._log = directory / "mosquitto.conf", directory / "mosquitto.log"
        self._configuration.write_text(
            CONFIGURATION.format(
                port=self.port,
                plain_port=self.plain_port,
                root=authority.root,
                crl=authority.crl,
                log=self._log,
                certificate=certificate,
                key=key,
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it listens."""
        command = ["/usr/sbin/mosquitto", "-c", str(self._configuration)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.plain_port)) == 0

        _wait("mosquitto listens", listens)

    def reload(self) -> None:
        """Read the CRL again; connections made from now on are judged by it."""
        assert self.process is not None
        before = self._log.read_text().count(RELOADS)
        self.process.send_signal(signal.SIGHUP)
        _wait("mosquitto reloads", lambda: self._log.read_text().count(RELOADS) > before)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


def _wait(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


def free_port() -> int:
    """A port nobody listens on, below those that outgoing connections are given: none of them takes it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
