"""A real Mosquitto with a mutual TLS door for devices and a plain one for the test."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.agent.authority import Authority

CONFIGURATION = """
per_listener_settings true
user root
max_queued_messages 100000
listener {port} 127.0.0.1
cafile {root}
certfile {certificate}
keyfile {key}
require_certificate true
use_identity_as_username true
use_username_as_clientid true
listener {plain_port} 127.0.0.1
allow_anonymous true
"""


class Mosquitto:
    """One broker on free ports; it can be killed and started again on the same ones."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        certificate, key = authority.server()
        self.port, self.plain_port = _free_port(), _free_port()
        self._configuration = directory / "mosquitto.conf"
        self._configuration.write_text(
            CONFIGURATION.format(
                port=self.port, plain_port=self.plain_port, root=authority.root, certificate=certificate, key=key
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it listens."""
        command = ["/usr/sbin/mosquitto", "-c", str(self._configuration)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.plain_port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError("mosquitto does not listen")

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
