"""`python docker/device_https.py [PORT]`: the HTTPS door of devices.

uvicorn reads certificates once, and the portal replaces its own every two months. So the process ends when that
happened, in good order, and is started anew by whoever runs it.
"""

import asyncio
import os
import sys
from pathlib import Path

import uvicorn
from django.conf import settings

from fleetportal.embedded.watch import FileWatch

LOOK_SECONDS = 1.0


async def main(port: int) -> None:
    """Serve until a signal, or until one of the files was replaced."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
    folder: Path = settings.BROKER_DIRECTORY
    certificate, key, trusted = (folder / name for name in ("server.pem", "server.key", "device_https_ca.pem"))
    config = uvicorn.Config(
        "fleetportal.device_asgi:application",
        host="0.0.0.0",  # noqa: S104 (inside a container, whose networks decide who comes in)
        port=port,
        timeout_graceful_shutdown=5,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_ca_certs=str(trusted),
        ssl_cert_reqs=1,  # asks for a certificate but leaves it to the views to insist
    )
    server = uvicorn.Server(config)

    async def watch() -> None:
        look = FileWatch([certificate, key, trusted], lambda: setattr(server, "should_exit", True))
        while not server.should_exit:
            look()
            await asyncio.sleep(LOOK_SECONDS)

    watching = asyncio.create_task(watch())
    await server.serve()
    watching.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8443))
