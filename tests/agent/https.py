"""An HTTPS server for tests that looks at client certificates, expired ones too."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

from cryptography import x509

from tests.agent.authority import Authority

X509_V_FLAG_NO_CHECK_TIME = 0x200000

Reply = tuple[int, Mapping[str, str], bytes]


@dataclass(frozen=True)
class Question:
    """One request. `certificate`: what the client showed."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    certificate: x509.Certificate | None


@contextmanager
def serving(authority: Authority, reply: Callable[[Question], Reply], clients: Path | None = None) -> Iterator[str]:
    """Serve until the end of the block; gives the URL. `clients`: the root of client certificates."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            shown = cast("ssl.SSLSocket", self.connection).getpeercert(binary_form=True)
            certificate = x509.load_der_x509_certificate(shown) if shown else None
            status, headers, content = reply(Question(self.path, dict(self.headers), body, certificate))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server())
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VerifyFlags(X509_V_FLAG_NO_CHECK_TIME)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
