"""`python -m fleetportal.device_https (--fd N | --port N [--host H]) [--plain]`: the HTTPS door of devices.

TLS asks for a client certificate but leaves it to the views to insist, and the views find it in the ASGI scope. Its
dates are not judged here: a device whose certificate expired while it was away may still ask for a new one
(devices/callers.py knows when). `--plain` leaves TLS to a proxy in front, as CLIENT_CERTIFICATE_PROXIES tells.

uvicorn reads certificates once, and the portal replaces its own every two months. So the process serves what it has
begun and starts itself anew, with the same socket: who connects meanwhile waits a moment and is not refused.
"""

import argparse
import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fleetportal.embedded.watch import FileWatch

LOOK_SECONDS = 1.0
STOP_SECONDS = 2
_BACKLOG = 2048
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's ssl has no name for


class Protocol(HttpToolsProtocol):
    """HTTP that tells the application who is at the other end, as the TLS extension of ASGI wants it told."""

    _tls: dict[object, object] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """TLS is agreed upon: note the certificate."""
        super().connection_made(transport)
        channel: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if channel is not None:
            der = channel.getpeercert(binary_form=True)
            self._tls = {
                "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)] if der else [],
                "client_cert_name": None,
                "client_cert_error": None,
                "server_cert": None,
                "tls_version": None,
                "cipher_suite": None,
            }

    def on_message_begin(self) -> None:
        """A request begins: its scope gets what the connection knows."""
        super().on_message_begin()
        if self._tls is not None:
            self.scope["extensions"] = {"tls": self._tls}


class Door(uvicorn.Server):
    """A server that ends in good order when one of the files was replaced."""

    def __init__(self, config: uvicorn.Config, files: Sequence[Path]) -> None:
        super().__init__(config)
        self.replaced = False
        self._look = FileWatch(files, self._end)  # before anybody reads them, so that no change is missed

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal, or until a file was replaced."""
        watching = asyncio.create_task(self._watch())
        try:
            await super().serve(sockets)
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while not self.should_exit:
            self._look()
            await asyncio.sleep(LOOK_SECONDS)

    def _end(self) -> None:
        self.replaced = self.should_exit = True


def door(*, plain: bool) -> Door:
    """The door as the settings describe it; raises OSError when a certificate file is missing or damaged."""
    folder: Path = settings.BROKER_DIRECTORY
    certificate, key, trusted = (folder / name for name in ("server.pem", "server.key", "device_https_ca.pem"))
    config = uvicorn.Config(
        "fleetportal.device_asgi:application",
        http=Protocol,
        ws="none",
        lifespan="off",
        proxy_headers=False,  # REMOTE_ADDR stays the true hop: whether a header is believed depends on it
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_certfile=None if plain else certificate,
        ssl_keyfile=None if plain else key,
        ssl_ca_certs=None if plain else str(trusted),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,
    )
    server = Door(config, [] if plain else [certificate, key, trusted])
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        # A maker's CA may be below a root that nobody gave us: it is trusted as it is.
        config.ssl.verify_flags |= _NO_CHECK_TIME | ssl.VERIFY_X509_PARTIAL_CHAIN
    return server


def listen(host: str, port: int) -> socket.socket:
    """A listening socket of our own. What it accepts sends at once: the event loop says so only for its own sockets."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def main(arguments: Sequence[str]) -> None:
    """Serve; after files were replaced this process becomes a new one, else it ends."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
    parser = argparse.ArgumentParser(prog="python -m fleetportal.device_https", description="The HTTPS door of devices")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, help="a listening socket that was inherited")
    where.add_argument("--port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--plain", action="store_true", help="without TLS, behind a proxy that ends it")
    told = parser.parse_args(arguments)
    listening = listen(told.host, told.port) if told.fd is None else socket.socket(fileno=told.fd)
    server = door(plain=told.plain)
    server.run(sockets=[listening.dup()])  # uvicorn closes what it is given
    if server.replaced:
        listening.set_inheritable(True)
        again = [sys.executable, "-m", "fleetportal.device_https", f"--fd={listening.fileno()}"]
        os.execv(sys.executable, again)  # noqa: S606 (ourselves; no shell)


if __name__ == "__main__":
    main(sys.argv[1:])
