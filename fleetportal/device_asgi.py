"""HTTP for devices: the same portal with a timetable of its own, behind TLS that asks for client certificates."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")

from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application

settings.ROOT_URLCONF = "fleetportal.device_urls"
# Devices are never sent elsewhere: behind `--plain` TLS is the proxy's, and a redirect would come too late for a token.
settings.SECURE_SSL_REDIRECT = False
_django = get_asgi_application()

from firmware.sending import Sender  # noqa: E402 (needs the settings above)
from fleetportal.bodies import Limited  # noqa: E402


async def _limit(_: dict[str, Any]) -> int:
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


_http = Limited(Sender(_django), _limit)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Devices speak HTTP here and nothing else."""
    if scope["type"] == "http":
        await _http(scope, receive, send)
