"""The portal as it is served: HTTP and WebSockets by uvicorn, in a thread of this process, on a free port."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from django.db import connections

from fleetportal.asgi import application


class Served:
    """A server that can go away and come back on its port."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._socket.close()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(
            application, host="127.0.0.1", port=self.port, ws="websockets-sansio", lifespan="off", log_level="error",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._up = threading.Event()
        startup = self._server.startup

        async def started(sockets=None):
            await startup(sockets)
            self._up.set()

        self._server.startup = started
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        assert self._up.wait(10)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def served() -> Iterator[Served]:
    """Its requests keep no database connection: the test's tables are emptied at the end."""
    settings = connections.settings["default"]
    kept, settings["CONN_MAX_AGE"] = settings["CONN_MAX_AGE"], 0
    server = Served()
    try:
        yield server
    finally:
        server.stop()
        settings["CONN_MAX_AGE"] = kept
